"""Being told when a process is gone, also one that is no child of this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from selm_local.processes import ProcessId

POLL_SECONDS = 0.5


def when_gone(process: ProcessId, call: Callable[[], None]) -> None:
    """Call once, in the running event loop, when the process has ended (at once if it has)."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        loop.call_soon(call)
        return
    except OSError:  # a kernel without pidfds
        _poll(loop, process, call)
        return
    if not process.alive:
        os.close(handle)
        loop.call_soon(call)
        return

    def ended() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        call()

    loop.add_reader(handle, ended)


def _poll(loop: asyncio.AbstractEventLoop, process: ProcessId, call: Callable[[], None]) -> None:
    if process.alive:
        loop.call_later(POLL_SECONDS, _poll, loop, process, call)
    else:
        call()
