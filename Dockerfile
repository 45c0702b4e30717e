# syntax=docker/dockerfile:1
# Three images from one file, for linux/amd64 (the operator for linux/arm64, too):
#   docker build --target operator    -t selm-operator .     the reconciler: no torch, no compiler, no package manager
#   docker build --target runtime     -t selm-runtime .      the phases on GPUs: vLLM and DeepSpeed of one lock
#   docker build --target runtime-cpu -t selm-runtime:cpu .  the phases without
#
# What is installed is locked with hashes (scripts/lock_images.sh). Each image is a virtual environment made in a stage of
# its own and copied: what built it stays behind. The CUDA libraries come with torch's wheels; the driver is the node's.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# --- what the final images begin with: a numeric user, so that a cluster can see that it is not root
FROM ${PYTHON_IMAGE} AS base
RUN useradd --uid 10001 --user-group --create-home --home-dir /home/selm --shell /usr/sbin/nologin selm
# The root file system may be read-only: what libraries write goes into /tmp and the home, models into SELM_CACHE_DIR, and
# the operator mounts a volume at each of them.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/selm \
    USER=selm \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/selm

# --- what builds: uv, and this project's wheel
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    VIRTUAL_ENV=/opt/venv
WORKDIR /src
COPY requirements/image-build.lock requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/image-build.lock \
 && python -m venv --without-pip /opt/venv
ENV PATH=/opt/venv/bin:/opt/build/bin:$PATH
COPY pyproject.toml README.md ./
COPY operator/ operator/
COPY runtime/ runtime/
COPY local/ local/
COPY cli/ cli/
COPY crds/ crds/
COPY charts/selm-operator/files/ charts/selm-operator/files/
RUN /opt/build/bin/python -c "import setuptools.build_meta as b; b.build_wheel('/opt/wheel')"

FROM build AS build-operator
COPY requirements/image-operator.lock requirements/
RUN uv pip install --require-hashes --requirement requirements/image-operator.lock \
 && uv pip install --no-deps --no-index --find-links /opt/wheel selm-operator

# DeepSpeed comes last: its setup imports torch. With DS_BUILD_OPS its kernels would be compiled, which nothing here uses.
FROM build AS build-runtime-cpu
ENV DS_BUILD_OPS=0 \
    UV_TORCH_BACKEND=cpu
COPY requirements/image-runtime-cpu.lock requirements/image-deepspeed.lock requirements/
RUN uv pip install --require-hashes --no-deps --requirement requirements/image-runtime-cpu.lock \
 && uv pip install --require-hashes --no-deps --no-build-isolation --requirement requirements/image-deepspeed.lock \
 && uv pip install --no-deps --no-index --find-links /opt/wheel selm-operator

FROM build AS build-runtime
ENV DS_BUILD_OPS=0
COPY requirements/image-runtime.lock requirements/image-deepspeed.lock requirements/
RUN uv pip install --require-hashes --no-deps --requirement requirements/image-runtime.lock \
 && uv pip install --require-hashes --no-deps --no-build-isolation --requirement requirements/image-deepspeed.lock \
 && uv pip install --no-deps --no-index --find-links /opt/wheel selm-operator

# --- the images
FROM base AS operator
COPY --from=build-operator /opt/venv /opt/venv
USER 10001:10001
ENTRYPOINT ["python", "-m", "selm_operator"]

FROM base AS runtime-cpu
COPY --from=build-runtime-cpu /opt/venv /opt/venv
USER 10001:10001
ENTRYPOINT ["python", "-m", "selm_runtime"]

FROM base AS runtime
# Triton links a launcher for each kernel when it first runs: it needs a C compiler, the one build tool that stays.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-runtime /opt/venv /opt/venv
USER 10001:10001
ENTRYPOINT ["python", "-m", "selm_runtime"]
