"""Where torch works: the device by its name, and one thread so that sums have one order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from stagelens.pipeline.errors import ConfigError, nearest

NAMES = ("auto", "cpu", "cuda")


def device_named(name: str) -> Any:
    """Return torch's device: ``cpu``, ``cuda``, or with ``auto`` a CUDA device where there is one.

    Raises:
        ConfigError: An unknown name, or ``cuda`` where torch finds no CUDA device.
    """
    if name not in NAMES:
        raise ConfigError(nearest("device", name, NAMES))
    there = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not there:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU alone"
        raise ConfigError(
            f"device = 'cuda': torch {torch.__version__} ({built}) finds no CUDA device. Allowed here: auto, cpu. "
            "For a GPU install a CUDA build of torch and a driver that fits it"
        )
    return torch.device("cuda" if there else "cpu")


@dataclass
class _Held:
    count: int = 0
    before: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)


_held = _Held()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: sums of matrix products depend on their number, bytes must not.

    The setting is the process's: of trainings side by side the last one to end restores it.
    """
    with _held.lock:
        if not _held.count:
            _held.before = torch.get_num_threads()
        _held.count += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _held.lock:
            _held.count -= 1
            if not _held.count:
                torch.set_num_threads(_held.before)
