"""Make the table of field numbers (`fields.py`) from Kubernetes' published API definitions.

    python -m selm_local.apiserver.protobuf.extract FOLDER > fields.py

FOLDER holds the `generated.proto` and `types.go` files of k8s.io/api and k8s.io/apimachinery. The numbers are part of
the wire format and never change; the table is made anew only to serve further kinds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from selm_local.apiserver import builtin
from selm_local.apiserver.resources import BUILT_IN

_MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"^\s*(?:(optional|repeated|required) )?(map<\w+, ?[\w.]+>|[\w.]+) (\w+) = (\d+);", re.M)
_STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.M | re.S)
_POINTER = re.compile(r"^\s*\w+\s+\*[\w.]+\s+`.*?protobuf:\"\w+,(\d+),", re.M)
_INLINE = re.compile(r"^\s*(?:\w+\s+)?\*?[\w.]+\s+`json:\"(?:,inline)?\"\s+protobuf:\"\w+,(\d+),", re.M)
SCALARS = frozenset({"string", "bytes", "bool", "int32", "int64", "double", "float", "uint32", "uint64"})
_MACHINERY = "io.k8s.apimachinery.pkg."
_HEAD = '''"""Field numbers of Kubernetes' messages on the wire; made by `extract`, not by hand.

A line is a message and its fields, each `number=[*][~]name:type`. `*`: may be unset, so that zero means something;
`~`: the JSON form has the message's fields in its parent; `[]`: repeated; `{}`: a map with string keys.
`a/` stands for io.k8s.api., `m/` for io.k8s.apimachinery.pkg.
"""

TABLE = """\\
'''
ROOTS = ("DeleteOptions", "Status")


def messages(folder: Path) -> dict[str, dict[int, str]]:
    """Full message name -> field number -> `[*~]name:[[]]type`: * may be unset, ~ its fields stand in the parent."""
    found: dict[str, dict[int, str]] = {}
    for file in sorted(folder.rglob("generated.proto")):
        text = file.read_text()
        package = _full(re.findall(r"^package ([\w.]+);", text, re.M)[0])
        pointers, inlines = _go_facts(file.with_name("types.go"))
        for message, body in _MESSAGE.findall(text):
            fields: dict[int, str] = {}
            for label, kind, name, number_text in _FIELD.findall(body):
                number = int(number_text)
                marks = "*" if number in pointers.get(message, ()) else ""
                marks += "~" if number in inlines.get(message, ()) else ""
                fields[number] = f"{marks}{name}:{_type(kind, package, repeated=label == 'repeated')}"
            found[f"{package}.{message}"] = fields
    return found


def _go_facts(file: Path) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    pointers: dict[str, set[int]] = {}
    inlines: dict[str, set[int]] = {}
    if file.exists():
        for struct, body in _STRUCT.findall(file.read_text()):
            pointers[struct] = {int(n) for n in _POINTER.findall(body)}
            inlines[struct] = {int(n) for n in _INLINE.findall(body)}
    return pointers, inlines


def _full(name: str) -> str:
    return name.replace("k8s.io.", "io.k8s.", 1).lstrip(".")


def _type(kind: str, package: str, *, repeated: bool) -> str:
    if kind.startswith("map<"):
        return "{}" + _type(kind[4:-1].split(",")[1].strip(), package, repeated=False)
    if kind not in SCALARS:
        kind = _full(kind) if "." in kind else f"{package}.{kind}"
    return ("[]" if repeated else "") + kind


def reachable(found: dict[str, dict[int, str]], roots: list[str]) -> Iterator[str]:
    todo, seen = list(roots), set(roots)
    while todo:
        name = todo.pop()
        yield name
        for entry in found[name].values():
            kind = entry.split(":", 1)[1].removeprefix("[]").removeprefix("{}")
            if kind not in SCALARS and kind not in seen and kind in found:
                seen.add(kind)
                todo.append(kind)


def main() -> None:
    found = messages(Path(sys.argv[1]))
    roots = [n for r in BUILT_IN if (n := builtin.definition_name(r.group, r.version, r.kind)) in found]
    roots += ["io.k8s.apimachinery.pkg.apis.meta.v1." + name for name in ROOTS]
    roots += [
        "io.k8s.api.policy.v1.Eviction",
        "io.k8s.api.core.v1.Binding",
        "io.k8s.api.authentication.v1.TokenRequest",
        "io.k8s.api.autoscaling.v1.Scale",
    ]
    sys.stdout.write(_HEAD)
    for name in sorted(reachable(found, [r for r in roots if r])):
        listed = " ".join(f"{number}={entry}" for number, entry in sorted(found[name].items()))
        sys.stdout.write(f"{name} {listed}".rstrip().replace("io.k8s.api.", "a/").replace(_MACHINERY, "m/") + "\n")
    sys.stdout.write('"""\n')


if __name__ == "__main__":
    main()
