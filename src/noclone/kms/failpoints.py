"""Points where a test can kill the process, as a crash or `kill -9` would: just before and after what must be durable.

With NOCLONE_CRASH_AT=n in the environment the n-th point that is reached ends the process by SIGKILL: no handler, no
flush, no farewell. Without it, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

_crash_at = int(os.environ.get("NOCLONE_CRASH_AT", "0") or "0")
_reached = 0


def reach(_name: str) -> None:
    """Pass a point; `_name` says in the source which one it is."""
    global _reached
    if _crash_at:
        _reached += 1
        if _reached == _crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
