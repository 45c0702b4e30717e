"""Minimal merge patch and no field ownership, until `patch` and `schema.names` are there. To be removed."""
import copy
import dataclasses
import types


@dataclasses.dataclass(frozen=True)
class FieldRequest:
    manager: str
    operation: str
    api_version: str
    time: str
    subresource: str = ""
MergeType = object
class PatchError(Exception):
    code, reason, message, causes = 400, "BadRequest", "", ()
class ApplyConflict(Exception): ...
def merge_patch(t, p):
    if not isinstance(p, dict): return copy.deepcopy(p)
    out = copy.deepcopy(t) if isinstance(t, dict) else {}
    for k, v in p.items():
        if v is None: out.pop(k, None)
        else: out[k] = merge_patch(out.get(k), v)
    return out
def strategic_merge_patch(t, p, gvk): return merge_patch(t, p)
def json_patch(t, ops):
    import jsonpatch
    return jsonpatch.JsonPatch(ops).apply(t)
def merge_type(gvk): return None
def apply(live, applied, request, merge, force=False): return merge_patch(live or {}, applied)
def settle(live, new, request, merge): return new
patch = types.SimpleNamespace(**{k: globals()[k] for k in ("FieldRequest","MergeType","PatchError","ApplyConflict","merge_patch","strategic_merge_patch","json_patch","merge_type","apply","settle")})
names = types.SimpleNamespace(object_meta=lambda m, generate_ok=True, old=None: [], dns1123_subdomain=lambda v: [])
def merge_type_of(schema): return None
patch.merge_type_of = merge_type_of
