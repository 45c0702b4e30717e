"""What the apiextensions half of kube-apiserver does with a CustomResourceDefinition. Pure: no I/O, no clock.

For the API server:

    validate_crd(crd, old=None) -> list[FieldError]
        Every reason to refuse a CRD at admission: names, versions, structural schema, defaults, CEL rules and their
        estimated cost, printer columns. Empty list: admitted. `default_crd(crd)` first fills in what Kubernetes does.

    schema = CustomSchema.of_crd(crd, "v1alpha1")     # compile once a version; rules are compiled here
    obj, unknown = schema.prune(obj)                  # unknown: paths of dropped fields, for Strict (400) and Warn
    obj = schema.default(obj)
    errors = schema.validate(new, old)                # list[FieldError]; old=None on create
    stored, errors = admit(schema, new, old, strict=True, subresource=None)   # the whole order of a create or update

All functions take plain JSON values (dict, list, str, int, float, bool, None), never change their arguments, and return
new ones where something changes. `FieldError.field` is the path exactly as Kubernetes prints it.

`names` has the syntax of names, labels and annotations with Kubernetes' messages, for built-in kinds too:

    names.dns1123_subdomain(value) -> list[str]       # messages; empty: valid
    names.dns1123_label / dns1035_label / qualified_name / label_value
    names.object_meta(metadata, *, generate_ok=True, old=None) -> list[FieldError]
"""

from selm_local.apiserver.schema.admission.crd import default_crd, validate_crd
from selm_local.apiserver.schema.custom import CustomSchema, admit
from selm_local.apiserver.schema.errors import FieldError, in_message

__all__ = ["CustomSchema", "FieldError", "admit", "default_crd", "in_message", "validate_crd"]
