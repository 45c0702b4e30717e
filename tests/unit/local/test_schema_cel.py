"""CEL rules over custom resources: what they see, what they mean, when they run."""

import pytest

from selm_local.apiserver.schema import CustomSchema, admit, default_crd, validate_crd


def rule(text, **more):
    return {"rule": text, "message": "no", **more}


def schema(properties, *rules, **more):
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules), **more}
    return CustomSchema({"type": "object", "properties": {"spec": spec}})


def obj(**spec):
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "spec": spec}


def refusals(of, new, old=None):
    return [(e.field, e.reason, e.message) for e in admit(of, new, old)[1]]


def holds(properties, text, spec, old=None):
    """Whether a rule on spec admits the object; an evaluation error counts as None."""
    found = refusals(schema(properties, rule(text)), obj(**spec), None if old is None else obj(**old))
    if not found:
        return True
    assert [f[0] for f in found] == ["spec"]
    return False if found[0][2] == "Invalid value: no" else None


P = {
    "i": {"type": "integer", "maximum": 1000},
    "j": {"type": "integer"},
    "n": {"type": "number"},
    "s": {"type": "string", "maxLength": 64},
    "b": {"type": "boolean"},
    "t": {"type": "string", "format": "date-time"},
    "d": {"type": "string", "format": "duration"},
    "bytes": {"type": "string", "format": "byte", "maxLength": 64},
    "q": {"x-kubernetes-int-or-string": True},
    "l": {"type": "array", "maxItems": 8, "items": {"type": "string", "maxLength": 8}},
    "il": {"type": "array", "maxItems": 8, "items": {"type": "integer"}},
    "set": {
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "maxLength": 8},
    },
    "map": {
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "maxLength": 8}, "v": {"type": "integer"}},
        },
    },
    "entries": {"type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "maxLength": 8}},
    "o": {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y-z": {"type": "integer"}, "namespace": {"type": "string"}},
    },
    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "nested": {"type": "array", "maxItems": 3, "items": {"type": "array", "maxItems": 3, "items": {"type": "integer"}}},
    "null": {"type": "string", "nullable": True},
}

MEANING = [
    ("arithmetic", "self.i * 2 + 1 == 7", {"i": 3}, True),
    ("a number that is written whole", "self.n > 0.5", {"n": 1}, True),
    ("an integer compared with a fraction", "self.i < 2.5", {"i": 2}, True),
    ("a field that is there", "has(self.i)", {"i": 0}, True),
    ("a field that is not", "has(self.i)", {}, False),
    ("reading a field that is not there is an error", "self.i == 0", {}, None),
    ("an error is swallowed by what decides without it", "self.i == 0 || true", {}, True),
    ("dividing by zero is an error", "1 / self.i == 1", {"i": 0}, None),
    ("a regular expression", "self.s.matches('^a+$')", {"s": "aa"}, True),
    ("strings", "self.s.split('-').size() == 2 && self.s.lowerAscii() == 'a-b'", {"s": "A-b"}, True),
    ("a time", "self.t > timestamp('2026-01-01T00:00:00Z')", {"t": "2026-01-01T00:00:01Z"}, True),
    ("nanoseconds", "self.t == timestamp('2026-01-01T00:00:00.000000001Z')", {"t": "2026-01-01T00:00:00.000000001Z"}, True),
    ("a duration", "self.d >= duration('60s')", {"d": "1m"}, True),
    ("bytes", "self.bytes == b'ab'", {"bytes": "YWI="}, True),
    ("an int-or-string that is an int", "type(self.q) == int && self.q > 1", {"q": 2}, True),
    ("an int-or-string that is a string", "type(self.q) == string", {"q": "2"}, True),
    ("an int-or-string of the other kind is an error", "self.q > 1", {"q": "2"}, None),
    ("all and exists", "self.l.all(x, x != '') && self.l.exists(x, x == 'b')", {"l": ["a", "b"]}, True),
    ("two variables", "self.l.all(i, x, i < 2 || x == 'c')", {"l": ["a", "b", "c"]}, True),
    ("entries of a map by key", "self.entries['a.b/c'] == 'v' && 'a.b/c' in self.entries", {"entries": {"a.b/c": "v"}}, True),
    ("an escaped name", "self.o.y__dash__z == 1 && self.o.__namespace__ == 'n'", {"o": {"y-z": 1, "namespace": "n"}}, True),
    ("an optional", "self.?i.orValue(5) == 5", {}, True),
    ("an item out of bounds is an error", "self.l[1] == 'a'", {"l": ["a"]}, None),
    ("a list in a list", "self.nested.all(x, x.all(y, y > 0))", {"nested": [[1], [2]]}, True),
    ("a null counts as absent", "!has(self.__null__)", {"null": None}, True),
    ("quantities", "quantity('1.5Gi').isGreaterThan(quantity('1500M'))", {}, True),
    ("equal quantities", "quantity('1000m') == quantity('1')", {}, True),
    ("sums of quantities", "quantity('1').add(quantity('500m')).sub(1) == quantity('0.5')", {}, True),
    ("find", "self.s.find('[0-9]+') == '12' && self.s.findAll('[0-9]') == ['1', '2']", {"s": "a12"}, True),
    ("lists' sums and order", "self.il.sum() == 6 && self.il.isSorted() && self.il.min() == 1 && self.il.max() == 3", {"il": [1, 2, 3]}, True),
    ("the place of an item", "self.l.indexOf('b') == 1 && self.l.lastIndexOf('a') == 2 && self.s.indexOf('b') == 1", {"l": ["a", "b", "a"], "s": "ab"}, True),
    ("sets", "sets.contains(self.l, ['a'])", {"l": ["a", "b"]}, True),
    ("a url", "url(self.s).getHost() == 'h:1' && url(self.s).getPort() == '1' && isURL(self.s)", {"s": "http://h:1/p?q=a"}, True),
    ("no url is an error", "url(self.s).getHost() == ''", {"s": "no url"}, None),
    ("addresses", "ip(self.s).family() == 4 && cidr('10.0.0.0/8').containsIP(self.s) && !isIP('10.0.0.256')", {"s": "10.1.2.3"}, True),
    ("ranges", "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked().prefixLength() == 8", {}, True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "spec", "expected"), [c[1:] for c in MEANING], ids=[c[0] for c in MEANING])
def test_meaning(text, spec, expected):
    assert holds(P, text, spec) is expected


EQUALITY = [
    ("a set ignores order", "self.set == oldSelf.set", {"set": ["a", "b"]}, {"set": ["b", "a"]}, True),
    ("a set of other items", "self.set == oldSelf.set", {"set": ["a", "b"]}, {"set": ["a", "c"]}, False),
    ("an atomic list does not", "self.l == oldSelf.l", {"l": ["a", "b"]}, {"l": ["b", "a"]}, False),
    ("unequal sets", "self.set != oldSelf.set", {"set": ["a", "b"]}, {"set": ["b", "a"]}, False),
    ("a map ignores order", "self.map == oldSelf.map", {"map": [{"name": "a"}, {"name": "b"}]}, {"map": [{"name": "b"}, {"name": "a"}]}, True),
    ("a map with another value", "self.map == oldSelf.map", {"map": [{"name": "a", "v": 1}]}, {"map": [{"name": "a", "v": 2}]}, False),
    ("a literal's order counts", "['b', 'a'] == self.set", {"set": ["a", "b"]}, {"set": []}, False),
    ("the whole that holds a set", "self == oldSelf", {"set": ["a", "b"]}, {"set": ["b", "a"]}, True),
    ("an open object that changed", "self.open == oldSelf.open", {"open": {"a": 1}}, {"open": {"a": 2}}, False),
    ("an open object with one key more", "self.open == oldSelf.open", {"open": {"a": 1, "b": 1}}, {"open": {"a": 1}}, False),
    ("an open object's swapped key goes unseen, as on the real server", "self.open == oldSelf.open", {"open": {"a": 1}}, {"open": {"b": 1}}, True),
    ("a nested change in an open object", "self.open == oldSelf.open", {"open": {"a": {"x": [1]}}}, {"open": {"a": {"x": [2]}}}, False),
    ("adding to a set", "(self.set + oldSelf.set).size() == 3", {"set": ["a", "b"]}, {"set": ["b", "c"]}, True),
    ("adding to a map replaces", "(self.map + oldSelf.map).size() == 1", {"map": [{"name": "a", "v": 1}]}, {"map": [{"name": "a", "v": 2}]}, True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "new", "old", "expected"), [c[1:] for c in EQUALITY], ids=[c[0] for c in EQUALITY])
def test_equality(text, new, old, expected):
    assert holds(P, text, new, old) is expected


def crd(properties, *rules, name="a"):
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    names = {"plural": "tries", "singular": "try", "kind": "Try"}
    body = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "tries.example.com"}, "spec": body}


COMPILATION = [
    ("an undeclared field", "self.zzz > 1", "undefined field 'zzz'"),
    ("no boolean", "self.i + 1", "must evaluate to a bool"),
    ("a string compared with a number", "self.s == 1", "no matching overload"),
    ("an open object's field", "self.open.a == 1", "undefined field"),
    ("a bad pattern", "self.s.matches('[')", "invalid matches argument"),
    ("a bad duration", "duration('soon') > duration('1s')", "invalid duration argument"),
    ("a list of two types", "[1, 'a'].size() == 2", "one type"),
    ("an unknown function", "self.s.frobnicate()", "undeclared reference"),
    (
        "Kubernetes' format library",
        "!format.dns1123Label().validate(self.s).hasValue()",
        "does not have Kubernetes' CEL library format",
    ),
    ("Kubernetes' semver library", "semver(self.s).major() == 1", "does not have Kubernetes' CEL library semver"),
    ("a quantity compared with an integer", "quantity('1').isGreaterThan(1)", "no matching overload"),
    ("a syntax error", "self.i >", "compilation failed"),
]


@pytest.mark.parametrize(("text", "said"), [c[1:] for c in COMPILATION], ids=[c[0] for c in COMPILATION])
def test_a_crd_whose_rule_does_not_compile_is_refused(text, said):
    errors = validate_crd(default_crd(crd(P, rule(text))))
    assert [e.field for e in errors] == [
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    ]
    assert said in errors[0].message


def test_where_and_how_a_rule_refuses():
    of = schema(
        {"i": {"type": "integer"}, "entries": P["entries"]},
        rule("self.i > 0", fieldPath=".i", reason="FieldValueForbidden"),
        rule("self.i > 1", reason="FieldValueRequired"),
        rule("self.i > 2", reason="FieldValueDuplicate"),
        rule("self.i > 3", fieldPath=".entries['a.b']"),
        rule("self.i > 4", messageExpression="'needs more than ' + string(self.i)"),
        {"rule": "self.i > 5"},
    )
    assert refusals(of, obj(i=0)) == [
        ("spec.i", "FieldValueForbidden", "Forbidden: no"),
        ("spec", "FieldValueRequired", "Required value: no"),
        ("spec", "FieldValueDuplicate", "Duplicate value"),
        ("spec.entries[a.b]", "FieldValueInvalid", "Invalid value: no"),
        ("spec", "FieldValueInvalid", "Invalid value: needs more than 0"),
        ("spec", "FieldValueInvalid", "Invalid value: failed rule: self.i > 5"),
    ]


def test_errors_of_evaluation_are_those_of_kubernetes():
    found = refusals(schema(P, rule("self.i == 1"), rule("self.l[3] == ''"), rule("1 / self.j == 1")), obj(l=[], j=0))
    assert [f[2] for f in found] == [
        'Invalid value: "object": no such key: i evaluating rule: no',
        'Invalid value: "object": index out of bounds: 3 evaluating rule: no',
        'Invalid value: "object": division by zero evaluating rule: no',
    ]


def test_rules_are_not_run_over_an_object_whose_schema_errors_make_them_meaningless():
    of = schema({"i": {"type": "integer"}, "e": {"type": "string", "enum": ["A"]}}, rule("self.i > 0"))
    found = refusals(of, obj(i=0, e="B"))
    assert [f[:2] for f in found] == [("spec.e", "FieldValueNotSupported"), ("<nil>", "FieldValueInvalid")]
    assert "some validation rules were not checked" in found[1][2]


def test_rules_run_beside_errors_that_leave_them_meaningful():
    of = schema({"i": {"type": "integer", "minimum": 1}}, rule("self.i > 0"))
    assert [f[0] for f in refusals(of, obj(i=0))] == ["spec.i", "spec"]


def test_the_root_sees_the_name_and_reports_at_nil():
    of = CustomSchema({"type": "object", "x-kubernetes-validations": [rule("size(self.metadata.name) <= 3")]})
    bare = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "abcd"}}
    assert refusals(of, bare) == [("<nil>", "FieldValueInvalid", "Invalid value: no")]
    assert refusals(of, {**bare, "metadata": {"name": "abc"}}) == []


def test_transition_rules_run_only_where_there_is_an_old_value():
    items = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 9}, "v": {"type": "integer"}},
             "x-kubernetes-validations": [rule("self.v >= oldSelf.v")]}  # fmt: skip
    listed = {"type": "array", "maxItems": 5, "items": items}
    keyed = {**listed, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    of = schema({"m": keyed, "s": {"type": "string", "x-kubernetes-validations": [rule("self == oldSelf")]}})
    old = obj(m=[{"name": "a", "v": 5}, {"name": "b", "v": 5}], s="x")
    assert refusals(of, old) == []
    moved = obj(m=[{"name": "c", "v": 0}, {"name": "b", "v": 4}, {"name": "a", "v": 5}], s="x")
    assert [f[0] for f in refusals(of, moved, old)] == ["spec.m[1]"]
    assert [f[0] for f in refusals(of, obj(s="y"), old)] == ["spec.s"]
    assert refusals(of, obj(s="y"), obj()) == []
    assert refusals(of, obj(), old) == []


def test_an_optional_oldSelf_is_there_on_create_too():
    of = schema(
        {"i": {"type": "integer"}},
        rule("oldSelf.hasValue() ? self.i > oldSelf.value().i : self.i == 1", optionalOldSelf=True),
    )
    assert refusals(of, obj(i=1)) == []
    assert len(refusals(of, obj(i=2))) == 1
    assert refusals(of, obj(i=2), obj(i=1)) == []
    assert len(refusals(of, obj(i=1), obj(i=1))) == 1


def test_what_a_rule_refuses_stays_admitted_while_it_does_not_change():
    ruled = {"type": "integer", "x-kubernetes-validations": [rule("self > 0")]}
    of = schema({"a": ruled, "b": {"type": "integer"}, "free": {"type": "array", "maxItems": 3, "items": ruled}})
    old = obj(a=0, free=[0])
    assert len(refusals(of, old)) == 2
    assert refusals(of, obj(a=0, b=1, free=[0]), old) == []
    assert [f[0] for f in refusals(of, obj(a=-1, free=[0]), old)] == ["spec.a"]
    assert [f[0] for f in refusals(of, obj(a=0, free=[0, 1]), old)] == ["spec.free[0]"]


def test_a_value_that_a_rule_cannot_read_fails_it():
    of = schema({"i": {"type": "integer"}}, rule("self.i > 0"))
    assert refusals(of, obj(i=2.0)) == [
        (
            "spec",
            "FieldValueInvalid",
            'Invalid value: "object": invalid data, expected int, got float64 evaluating rule: no',
        )
    ]


def test_times_elsewhere_in_the_object_do_not_disturb_a_rule():
    of = schema(
        {
            "i": {"type": "integer"},
            "l": {"type": "array", "items": {"type": "object", "properties": {"t": P["t"], "d": P["d"]}}},
        },
        rule("self.i == 1"),
    )
    assert refusals(of, obj(i=1, l=[{"t": "2026-01-01T00:00:00Z", "d": "1s"}])) == []


def test_a_field_that_CEL_cannot_name_has_rules_of_its_own():
    of = schema({"a$b": {"type": "integer", "x-kubernetes-validations": [rule("self > 0")]}}, rule("true"))
    assert [f[0] for f in refusals(of, {**obj(), "spec": {"a$b": 0}})] == ["spec.a$b"]


def test_sixty_four_rules_take_milliseconds():
    import time

    of = schema(P, *[rule(f"self.i > {-n} && (!has(self.l) || self.l.all(x, x != ''))") for n in range(64)])
    given = obj(i=1, l=["a", "b"], set=["a"], entries={"a": "b"})
    of.validate(given)
    began = time.perf_counter()
    for _ in range(10):
        assert of.validate(given) == []
    assert (time.perf_counter() - began) / 10 < 0.05
