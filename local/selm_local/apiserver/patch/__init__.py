"""Patches as kube-apiserver applies them. Pure: no I/O, no clock (times come in as RFC 3339 strings).

    merge_patch(target, patch) -> Any                         # RFC 7386
    json_patch(target, operations) -> Any                     # RFC 6902; PatchError
    strategic_merge_patch(target, patch, gvk) -> dict         # built-in kinds only; gvk = (group, version, kind)

    merge_type(gvk) -> MergeType                              # built-in kinds: how their lists merge
    merge_type_of(schema: CustomSchema) -> MergeType          # custom kinds

    apply(live: dict | None, applied: dict, request: FieldRequest, merge: MergeType, force=False) -> dict
        Server-side apply: the new object, with metadata.managedFields. `live` None: created. Raises ApplyConflict
        (`.conflicts`: (path, manager) pairs, `.causes()`, `.message()`) and PatchError. Defaulting and validation are
        the caller's: call `apply`, then default and validate, then `settle` (below) on what will be stored.
    settle(live: dict | None, new: dict, request: FieldRequest, merge: MergeType) -> dict
        What an Update, or the end of an Apply, does to metadata.managedFields: `new` with the entries brought up to
        date (changed fields taken by the request's manager and lost by the others, removed fields dropped). Returns
        the live managedFields untouched where nothing changed, so that a no-op stays equal to `live`.

    FieldRequest(manager: str, operation: "Apply" | "Update", api_version: str, time: str, subresource: str = "")

PatchError(code, reason, message, causes) carries what the Status needs: 422 Invalid for a failed JSON-patch test or a
missing path, 400 BadRequest for what cannot be parsed. All functions leave their arguments as they were.
"""
