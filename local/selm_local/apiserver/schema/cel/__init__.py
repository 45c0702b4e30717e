"""CEL rules (x-kubernetes-validations): declared types, compilation, cost, evaluation.

`rules.RuleSet` is what the rest of the schema package uses. Parsing, type-checking and evaluation are Google's C++ CEL
(`cel_expr_python`); what is Kubernetes' own (types out of schemas, escaped names, cost estimates, equality of sets and
maps, the function libraries) is here.

Two environments serve one rule. The *checked* one knows the schema's types, as protobuf messages built for the purpose,
and refuses what Kubernetes' compiler refuses. The *evaluation* one is untyped and runs on plain maps and lists, because
a message has defaults where a Kubernetes object has an absent field, which must be an error ("no such key").
"""
