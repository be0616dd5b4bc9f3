"""Interrupts that get through."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

AGAIN_S = 2.0
"""Seconds after which an interrupt that was lost is raised again; long enough for what cleans up after one."""


@contextlib.contextmanager
def insistent(again_s: float = AGAIN_S) -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` again until it leaves the block.

    One that is raised inside a finaliser or a callback of a native library is printed or dropped by Python, and the
    study would go on. Where interrupts are ignored (a job in the background), they stay so.
    """
    ours = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, again_s)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, before)
