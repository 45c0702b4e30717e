"""What the apiextensions half of kube-apiserver does with a CustomResourceDefinition. Pure: no I/O, no clock.

    crd = default_crd(crd)
    validate_crd(crd, old=None) -> list[FieldError]
        Every reason to refuse a CRD at admission: names, versions, structural schema, defaults, CEL rules and their
        estimated cost, printer columns. Empty: admitted.

    schema = CustomSchema.of_crd(crd, "v1alpha1")     # once a version; its rules are compiled here
    obj, unknown = schema.prune(obj)                  # unknown: paths of dropped fields, for Strict (400) and Warn
    obj = schema.default(obj)
    errors = schema.validate(new, old)                # metadata included; old=None on create
    stored, errors = admit(schema, new, old, strict=True, subresource=None)   # the whole order of a create or update

All functions take plain JSON values (dict, list, str, int, float, bool, None), never change their arguments, and return
new ones where something changes. `FieldError.field` is the path exactly as Kubernetes prints it.

`names` has the syntax of names, labels and annotations with Kubernetes' messages, for built-in kinds too:

    names.dns1123_subdomain / dns1123_label / dns1035_label / qualified_name / label_value (value) -> list[str]
    names.object_meta(metadata, *, name_check=dns1123_subdomain, old=None, field="metadata") -> list[FieldError]

What is not as on a real server: the cost of rules is estimated at admission but not counted while they run; the CEL
libraries format, semver, image, jsonpatch and authorizer are not there (a rule that uses one is refused with its name);
a type error within a list of lists, or in a list that is a map's value, shows when the rule runs instead of at admission.
"""

from selm_local.apiserver.schema.admission.crd import default_crd, validate_crd
from selm_local.apiserver.schema.custom import CustomSchema, admit
from selm_local.apiserver.schema.errors import FieldError, in_message

__all__ = ["CustomSchema", "FieldError", "admit", "default_crd", "in_message", "validate_crd"]
