"""A container's own view of the file system: bind mounts in a mount namespace of its own (mount(2), unshare(2)).

Runs in the container's process between fork and exec. The machine's own files are never changed: where a mount point
is missing in a system folder, that folder is replaced, in this namespace, by a mirror of itself with the mount point
added. Only below ordinary folders (a home, /tmp) is a missing mount point made on the machine itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_NODIRATIME, MS_RELATIME = 0x2, 0x4, 0x8, 0x400, 0x800, 0x200000
# Flags that a user namespace may not clear when it remounts, by the bit that statvfs(3) reports for each.
_LOCKED = {
    os.ST_NOSUID: MS_NOSUID,
    os.ST_NODEV: MS_NODEV,
    os.ST_NOEXEC: MS_NOEXEC,
    os.ST_NOATIME: MS_NOATIME,
    os.ST_NODIRATIME: MS_NODIRATIME,
    os.ST_RELATIME: MS_RELATIME,
}
SYSTEM_FOLDERS = (
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib64",
    "media",
    "mnt",
    "opt",
    "run",
    "sbin",
    "srv",
    "usr",
    "var",
)
SHARED_BELOW_SYSTEM = (Path("/var/tmp"), Path("/dev/shm"))
# Terminals and block devices that no pod needs: some hundred mounts less when /dev is mirrored.
_SKIPPED_DEVICES = ("tty", "vcs", "loop", "ram", "sd", "vd", "nvme", "dm-")

_libc = ctypes.CDLL(None, use_errno=True)


class MountError(OSError):
    """A mount or namespace could not be made; the message names what and why."""


@dataclass(frozen=True)
class Mount:
    """One bind mount: `source` on the machine appears at `target` (both absolute)."""

    source: str
    target: str
    read_only: bool = False

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Mount:
        return cls(value["source"], value["target"], bool(value.get("readOnly", False)))

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "target": self.target, "readOnly": self.read_only}


def enter_namespaces(isolation: str, hostname: str) -> None:
    """Give the calling process mount and UTS namespaces of its own.

    Args:
        isolation: "root" (the process may do so), or "user" (through a user namespace in which the ids stay as they
            are, so that files still belong to the same user).
        hostname: what gethostname(2) answers inside.

    Raises:
        MountError: the kernel refused.
    """
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWUTS | (CLONE_NEWUSER if isolation == "user" else 0)
    _check(_libc.unshare(flags), "unshare namespaces")
    if isolation == "user":
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    # Nothing that is mounted here may appear on the machine.
    _mount("none", "/", MS_REC | MS_PRIVATE)
    name = hostname.encode()
    _check(_libc.sethostname(name, len(name)), f"set the host name to {hostname}")


def apply_mounts(mounts: list[Mount], staging: Path) -> None:
    """Bind every mount at its target, shallow targets first. `staging`: an empty folder of this container's run.

    Raises:
        MountError: a mount was refused. OSError: a mount point could not be made.
    """
    ordered = sorted(mounts, key=lambda one: len(Path(one.target).parts))
    # A mount may cover the folders that later sources lie in (/tmp, /dev/shm): all sources are opened before.
    sources = [(os.open(mount.source, os.O_PATH | os.O_CLOEXEC), Path(mount.source).is_dir()) for mount in ordered]
    targets = {Path(mount.target) for mount in ordered}
    staged = 0
    for mount, (_, is_folder) in zip(ordered, sources, strict=True):
        target = Path(mount.target)
        if not _exists(target) and targets.isdisjoint(target.parents):
            staged = _make_target(target, is_folder, staging, staged)
    for mount, (source, is_folder) in zip(ordered, sources, strict=True):
        target = Path(mount.target)
        if not _exists(target):
            _create(target, is_folder)  # inside a volume that is mounted by now
        _mount(f"/proc/self/fd/{source}", str(target), MS_BIND | MS_REC)
        os.close(source)
        if mount.read_only:
            locked = os.statvfs(target).f_flag
            keep = sum(flag for bit, flag in _LOCKED.items() if locked & bit)
            _mount("none", str(target), MS_BIND | MS_REMOUNT | MS_RDONLY | keep)


def _make_target(target: Path, is_folder: bool, staging: Path, staged: int) -> int:
    """Make a missing mount point. Returns how many mirrors were staged so far."""
    existing = next(parent for parent in target.parents if _exists(parent))
    if not _is_system(existing):
        _create(target, is_folder)
        return staged
    mirror = staging / str(staged)
    mirror.mkdir(parents=True)
    # A mount onto itself, so that what is bound into the mirror stays with it when it is moved into place.
    _mount(str(mirror), str(mirror), MS_BIND)
    for entry in os.scandir(existing):
        if existing == Path("/dev") and entry.name.startswith(_SKIPPED_DEVICES) and entry.name != "tty":
            continue
        _mirror_entry(entry, mirror / entry.name)
    _create(mirror / target.relative_to(existing), is_folder)
    if existing == Path("/"):
        working = os.getcwd()
        os.chroot(mirror)
        os.chdir(working)
    else:
        os.chmod(mirror, stat.S_IMODE(existing.stat().st_mode))
        _mount(str(mirror), str(existing), MS_BIND | MS_REC)
    return staged + 1


def _mirror_entry(entry: os.DirEntry[str], copy: Path) -> None:
    if entry.is_symlink():
        copy.symlink_to(os.readlink(entry.path))
        return
    _create(copy, entry.is_dir(follow_symlinks=False))
    # An entry that this user may not read is left as an empty place.
    with contextlib.suppress(MountError):
        _mount(entry.path, str(copy), MS_BIND | MS_REC)


def _create(target: Path, is_folder: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        target.mkdir(exist_ok=True)
    else:
        target.touch()


def _is_system(folder: Path) -> bool:
    if folder == Path("/"):
        return True
    if any(folder.is_relative_to(shared) for shared in SHARED_BELOW_SYSTEM):
        return False
    return folder.parts[1] in SYSTEM_FOLDERS


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _mount(source: str, target: str, flags: int) -> None:
    result = _libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    _check(result, f"mount {source} at {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise MountError(number, f"cannot {what}: {os.strerror(number)}")
