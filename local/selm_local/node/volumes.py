"""A pod's volumes as folders and files of this machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from selm_local.controllers.objects import Obj, namespace_of, uid_of
from selm_local.node.sources import ConfigError, Kind, Sources, containers_of, expand, field_value, resource_value

MEMORY_ROOT = Path("/dev/shm")


class VolumeError(Exception):
    """A volume cannot be made now: event FailedMount, the pod's containers wait."""


@dataclass(frozen=True)
class VolumeRoots:
    """Where volumes lie. folder: the pod's own. claims: the root of all PersistentVolumeClaims' folders."""

    folder: Path
    claims: Path


def prepare(pod: Obj, roots: VolumeRoots, sources: Sources, claims: set[str]) -> dict[str, Path]:
    """Make every volume of the pod. May be repeated; emptyDirs keep what is in them.

    Args:
        claims: the names of the PersistentVolumeClaims that exist in the pod's namespace.

    Returns:
        The path on this machine by volume name.

    Raises:
        VolumeError: something that a volume needs is missing; the message names volume and cause.
    """
    found: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or []:
        name = volume["name"]
        try:
            found[name] = _prepare_one(pod, volume, roots, sources, claims)
        except (VolumeError, ConfigError, OSError) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    return found


def remove_memory_volumes(pod_uid: str) -> None:
    """Remove the pod's emptyDirs of medium Memory, which lie outside its folder."""
    for path in MEMORY_ROOT.glob(f"selm-{pod_uid}-*"):
        shutil.rmtree(path, ignore_errors=True)


def resolve_mount(volume: Path, mount: Obj, env: dict[str, str], pod: Obj) -> Path:
    """What of a volume is mounted: the whole, or the part that subPath names.

    Raises:
        VolumeError: the subPath leads out of the volume.
    """
    sub = mount.get("subPath")
    if expression := mount.get("subPathExpr"):
        sub = expand(expression, env)
    if not sub:
        return volume
    path = Path(os.path.normpath(volume / sub))
    if not path.is_relative_to(volume) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(volume)):
        raise VolumeError(f"subPath {sub!r} of pod {uid_of(pod)} leads out of the volume {mount['name']}")
    if not path.exists():
        path.mkdir(parents=True)
    return path


def _prepare_one(pod: Obj, volume: Obj, roots: VolumeRoots, sources: Sources, claims: set[str]) -> Path:
    name: str = volume["name"]
    folder = roots.folder / name
    if (spec := volume.get("emptyDir")) is not None:
        if spec.get("medium") == "Memory":
            # Outside the pod's folder: each container has its own mounts, the files must be in one place for all.
            folder = MEMORY_ROOT / f"selm-{uid_of(pod)}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        return folder
    if (spec := volume.get("hostPath")) is not None:
        return _host_path(Path(spec["path"]), spec.get("type") or "")
    if (spec := volume.get("persistentVolumeClaim")) is not None:
        claim: str = spec["claimName"]
        if claim not in claims:
            raise VolumeError(f'persistentvolumeclaim "{claim}" not found')
        folder = roots.claims / namespace_of(pod) / claim
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    files: dict[str, tuple[bytes, int]] = {}
    if (spec := volume.get("secret")) is not None:
        files = _keys("Secret", spec["secretName"], spec, sources, spec.get("defaultMode"))
    elif (spec := volume.get("configMap")) is not None:
        files = _keys("ConfigMap", spec["name"], spec, sources, spec.get("defaultMode"))
    elif (spec := volume.get("downwardAPI")) is not None:
        files = _downward(pod, spec, sources, spec.get("defaultMode"))
    elif (spec := volume.get("projected")) is not None:
        mode = spec.get("defaultMode")
        for part in spec.get("sources") or []:
            if (inner := part.get("secret")) is not None:
                files |= _keys("Secret", inner["name"], inner, sources, mode)
            elif (inner := part.get("configMap")) is not None:
                files |= _keys("ConfigMap", inner["name"], inner, sources, mode)
            elif (inner := part.get("downwardAPI")) is not None:
                files |= _downward(pod, inner, sources, mode)
            elif (inner := part.get("serviceAccountToken")) is not None and sources.token is not None:
                files[inner["path"]] = (sources.token(inner).encode(), 0o644 if mode is None else mode)
            else:
                raise VolumeError(f"projected source {', '.join(part)} is not supported by the embedded cluster")
    else:
        kind = next((key for key in volume if key != "name"), "none")
        raise VolumeError(f"volumes of kind {kind} are not supported by the embedded cluster")
    _write_files(folder, files)
    return folder


def _host_path(path: Path, kind: str) -> Path:
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch()
    checks = {
        "Directory": path.is_dir,
        "DirectoryOrCreate": path.is_dir,
        "File": path.is_file,
        "FileOrCreate": path.is_file,
    }
    if not checks.get(kind, path.exists)():
        raise VolumeError(f"hostPath type check failed: {path} is not a {kind or 'path that exists'}")
    return path


def _keys(kind: Kind, name: str, spec: Obj, sources: Sources, mode: int | None) -> dict[str, tuple[bytes, int]]:
    data = sources.data(kind, name)
    if data is None:
        if spec.get("optional"):
            return {}
        raise VolumeError(f'{kind.lower()} "{name}" not found')
    default = 0o644 if mode is None else mode
    items = spec.get("items")
    if items is None:
        return {key: (value, default) for key, value in data.items()}
    files: dict[str, tuple[bytes, int]] = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", default))
        elif not spec.get("optional"):
            raise VolumeError(f'references non-existent {kind.lower()} key: "{item["key"]}"')
    return files


def _downward(pod: Obj, spec: Obj, sources: Sources, mode: int | None) -> dict[str, tuple[bytes, int]]:
    files: dict[str, tuple[bytes, int]] = {}
    for item in spec.get("items") or []:
        if (reference := item.get("fieldRef")) is not None:
            text = field_value(pod, reference["fieldPath"])
        else:
            reference = item["resourceFieldRef"]
            container = next(one for one in containers_of(pod) if one["name"] == reference["containerName"])
            text = resource_value(container, reference["resource"], reference.get("divisor"), sources.allocatable)
        files[item["path"]] = (text.encode(), item.get("mode", 0o644 if mode is None else mode))
    return files


def _write_files(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Write a volume of rendered files once; it stays as it was at the pod's start."""
    if folder.exists():
        return
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for path, (content, mode) in files.items():
        target = building / path
        if not Path(os.path.normpath(target)).is_relative_to(building):
            raise VolumeError(f"path {path!r} leads out of the volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    building.rename(folder)
