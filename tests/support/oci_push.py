"""A push to a registry at loopback, also as a program that can be killed: `python -m support.oci_push HOST FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from selm_runtime.artifacts.manifest import FileEntry, Manifest
from selm_runtime.contract import Phase, RunRef
from selm_runtime.push.card import CardFacts
from selm_runtime.push.oci import push_to_registry

NAME = "team/aligned"


def facts() -> CardFacts:
    """Of a run with one trained iteration; its base lies in a store that nobody is told of."""
    entry = FileEntry(name="model/model.safetensors", path="model/model.safetensors", size=1, sha256="1" * 64)
    digest = "sha256:" + "2" * 64
    trained = Manifest(
        phase=Phase.TRAINING, iteration=1, input_digest=digest, content_digest=digest, rows=4, files=(entry,)
    )
    spec = {"seed": 7, "model": {"uri": "s3://secret-bucket/base"}, "training": {"objective": {"type": "SELM"}}}
    return CardFacts(RunRef(namespace="team", name="zephyr", uid="u1"), spec, 1, 1, {(Phase.TRAINING, 1): trained})


if __name__ == "__main__":
    host, folder = sys.argv[1:]
    push_to_registry(Path(folder), f"oci://{host}/{NAME}:v1", facts(), field="x", plain_http=True, environment={})
