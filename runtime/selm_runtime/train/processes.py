"""Small facts about processes that torch and Python do not offer."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when `parent`, which started it, is gone (Linux; elsewhere nothing happens).

    A pod's container ends with its first process anyway; where phases run as plain processes, a rank must not live on.
    Ends this process at once if the parent is gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def freeze_collector() -> None:
    """Take all objects that are there now out of the garbage collector's sight, once the set-up is through.

    Libraries and model make millions of objects that live as long as the process; every full collection would walk
    through them, and each rank at another time, for which all others wait. What steps make is collected as ever.
    """
    gc.collect()
    gc.freeze()
