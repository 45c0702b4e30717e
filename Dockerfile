# syntax=docker/dockerfile:1
# Three images from one file: operator (slim, no torch), runtime (CUDA) and runtime-cpu.
#   docker build --target operator    -t selm-operator .
#   docker build --target runtime     -t selm-runtime .
#   docker build --target runtime-cpu -t selm-runtime:cpu .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --create-home --home-dir /home/selm selm
WORKDIR /opt/selm

FROM base AS operator
COPY pyproject.toml README.md requirements/ ./
COPY operator/ operator/
COPY runtime/ runtime/
COPY local/ local/
COPY cli/ cli/
RUN pip install ".[operator]"
USER 10001
ENTRYPOINT ["python", "-m", "selm_operator"]

FROM base AS runtime-cpu
COPY pyproject.toml README.md ./
COPY requirements/ requirements/
COPY scripts/ scripts/
COPY operator/ operator/
COPY runtime/ runtime/
COPY local/ local/
COPY cli/ cli/
ENV UV_COMPILE_BYTECODE=1
RUN pip install uv==0.13.9 \
 && uv pip install --system --no-deps --torch-backend cpu torch==2.13.0 \
 && uv pip install --system --no-deps setuptools==78.1.1 wheel \
 && DS_BUILD_OPS=0 uv pip install --system --no-deps --no-build-isolation-package deepspeed -r requirements/cpu.lock \
 && uv pip install --system --no-deps .
USER 10001
ENTRYPOINT ["python", "-m", "selm_runtime"]

FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS runtime
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 DEBIAN_FRONTEND=noninteractive
# DeepSpeed compiles its CUDA ops on first use: the image keeps the toolkit and ninja.
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3.12 python3.12-venv python3.12-dev ninja-build g++ \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /home/selm selm \
 && python3.12 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /opt/selm
COPY pyproject.toml README.md ./
COPY operator/ operator/
COPY runtime/ runtime/
COPY local/ local/
COPY cli/ cli/
ENV UV_COMPILE_BYTECODE=1
RUN pip install uv==0.13.9 \
 && uv pip install torch==2.13.0 setuptools==78.1.1 wheel \
 && DS_BUILD_OPS=0 uv pip install --no-build-isolation-package deepspeed ".[runtime,gpu]"
USER 10001
ENTRYPOINT ["python", "-m", "selm_runtime"]
