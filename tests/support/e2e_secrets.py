"""All that a run leaves for people to read: objects, events, logs, and what lies in the store. No secret may stand there."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq

from support.lab import Json, Lab, artifact_prefix

KINDS = ("selmruns", "jobs", "pods", "events", "services", "configmaps")


def texts_left_by(lab: Lab, run: Json) -> dict[str, str]:
    """The text of each place, by its name. Tables are written out; other bytes are taken as Latin-1. Secrets are none."""
    texts = {kind: json.dumps(lab.items(kind)) for kind in KINDS}
    for job in lab.jobs(run):
        for pod in lab.pods(job):
            name = pod["metadata"]["name"]
            texts[f"log of {name}"] = lab.kubectl("logs", name)
    base = run["spec"]["artifacts"]["uri"].split("/", 3)[3]
    namespace = run["metadata"]["namespace"]
    for prefix in (artifact_prefix(run), f"{base}/{namespace}/by-input", f"{base}/{namespace}/judge-replies"):
        for entry in lab.objects(f"{prefix}/"):
            body = lab.s3.get_object(Bucket=lab.bucket, Key=entry["Key"])["Body"].read()
            texts[entry["Key"]] = _text(entry["Key"], body)
    if lab.embedded_state is not None:
        texts |= {path.name: path.read_text(errors="replace") for path in (lab.embedded_state / "logs").iterdir()}
    return texts


def _text(name: str, body: bytes) -> str:
    return str(pq.read_table(io.BytesIO(body)).to_pylist()) if name.endswith(".parquet") else body.decode("latin-1")
