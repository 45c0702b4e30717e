"""How many runs does one operator hold?

    python benchmarks/operator.py                          1,000 runs beside 20,000 foreign Jobs, embedded API server
    python benchmarks/operator.py --runs 20 --foreign-jobs 200 --phase-seconds 6 --measure-seconds 20
    python benchmarks/operator.py --kubeconfig K           on another API server; see docs/scale.md

The operator is the real process; what its Jobs would do is simulated (`operator_runs.py`), so that no phase costs
anything. One table is printed, and with `--json` the figures are written, the machine among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # In the place of this file's folder, where the standard library's module `operator` would be shadowed by this one.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.operator_measure import app

    app()
