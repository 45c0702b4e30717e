"""`python -m selm_runtime.train PARENT`: torchrun's agent for one node, started by the pod's entry (pid PARENT)."""

from __future__ import annotations

import signal
import sys

from selm_runtime.train.processes import die_with_parent

if __name__ == "__main__":
    # Before the heavy imports, which take longer than some entries live.
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the entry tells the ranks by a file
    from selm_runtime.train.agent import main

    sys.exit(main())
