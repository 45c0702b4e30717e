"""PersistentVolumeClaims: each is a folder of the node, so a claim is bound as soon as it is made.

Sizes are recorded and not enforced, as with host paths.
"""

from __future__ import annotations

from selm_local.apiserver.kinds.builtin import BuiltIn, one_of
from selm_local.apiserver.kinds.podspec import quantity
from selm_local.apiserver.schema import errors as field
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.storage import Object

STORAGE_CLASS = "selm-local"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


class PersistentVolumeClaims(BuiltIn):
    returns_deleted = True

    def default(self, obj: Object) -> Object:
        spec = obj.setdefault("spec", {})
        spec.setdefault("volumeMode", "Filesystem")
        spec.setdefault("storageClassName", STORAGE_CLASS)
        return obj

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj["spec"]["volumeName"] = f"pvc-{obj['metadata']['uid']}"

    def initial_status(self, obj: Object) -> Object:
        spec = obj["spec"]
        asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        capacity = {"capacity": {"storage": asked}} if asked else {}
        return {"phase": "Bound", "accessModes": spec.get("accessModes") or [], **capacity}

    def validate(self, obj: Object, old: Object | None) -> list[FieldError]:
        spec, found = obj["spec"], []
        if old is not None:
            if spec != old["spec"]:
                found.append(field.forbidden("spec", "spec is immutable after creation"))
            return found
        modes = spec.get("accessModes") or []
        if not modes:
            found.append(field.required("spec.accessModes", "at least 1 access mode is required"))
        for i, mode in enumerate(modes):
            found += one_of(f"spec.accessModes[{i}]", mode, ACCESS_MODES)
        asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        if asked is None:
            found.append(field.required("spec.resources[storage]"))
        elif (quantity(asked) or 0) <= 0:
            found.append(field.invalid("spec.resources[storage]", asked, "must be greater than zero"))
        found += one_of("spec.volumeMode", spec["volumeMode"], ("Filesystem",))
        found += one_of("spec.storageClassName", spec["storageClassName"], (STORAGE_CLASS,))
        return found
