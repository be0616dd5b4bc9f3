"""Which FAISS is here, and can it use a GPU: decisions that cost nothing until they are asked for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import warnings
from functools import cache
from types import ModuleType
from typing import Literal

from stagelens.pipeline.errors import ConfigError, MissingExtra, StageLensWarning, require

Device = Literal["auto", "cpu", "cuda"]

GPU_MAX_DEPTH = 2048
"""Results a query that FAISS returns from a GPU (faiss #2103)."""

PROBE_S = 120
"""Seconds after which a probe counts as hanging."""

# FAISS aborts the process on some driver faults, which no except clause catches: the probe has a process of
# its own.
PROBE = """
import numpy as np, faiss
vectors = np.random.default_rng(0).normal(size=(500, 32)).astype("float32")
index = faiss.IndexFlatIP(32)
index.add(vectors)
gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
_, found = gpu.search(vectors[:40], 5)
_, expected = index.search(vectors[:40], 5)
assert (found[:, 0] == expected[:, 0]).all(), "the GPU's answers differ from the CPU's"
"""


def faiss_conflict(path: list[str] | None = None) -> str | None:
    """Say whether a CPU and a GPU wheel of FAISS are both installed, and how to mend it; None where not.

    They share the import package ``faiss`` and overwrite each other's files; pip does not notice.

    Args:
        path: Folders searched for distributions; default ``sys.path``.
    """
    found = (
        importlib.metadata.distributions() if path is None else importlib.metadata.distributions(path=path)
    )
    names = {(one.metadata["Name"] or "").lower().replace("_", "-") for one in found}
    wheels = sorted(name for name in names if name == "faiss-cpu" or name.startswith("faiss-gpu"))
    if len(wheels) < 2:
        return None
    keep = next((name for name in wheels if name != "faiss-cpu"), wheels[0])
    return (
        f"{' and '.join(wheels)} are both installed; they overwrite each other's files, so FAISS cannot be "
        f"trusted. Keep one: pip uninstall -y {' '.join(wheels)} && pip install {keep} (faiss-cpu "
        "where there is no GPU)."
    )


@cache
def _checked_conflict() -> str | None:
    return faiss_conflict()


def find_faiss() -> ModuleType | None:
    """Return FAISS, or None where it is not installed.

    Raises:
        ConfigError: Two FAISS wheels are installed.
    """
    fault = _checked_conflict()
    if fault is not None:
        raise ConfigError(fault)
    try:
        return require("faiss", "cpu")
    except MissingExtra:
        return None


@cache
def say_once(text: str) -> None:
    """Warn, once a process."""
    warnings.warn(text, StageLensWarning, stacklevel=3)


@cache
def gpu_fault() -> str | None:
    """Return why FAISS cannot use a GPU here, or None where a probe search on it worked."""
    try:
        faiss = find_faiss()
        if faiss is None:
            return "FAISS is not installed"
        if not hasattr(faiss, "StandardGpuResources"):
            return "this FAISS is a CPU build (extra: gpu)"
        if faiss.get_num_gpus() == 0:
            return "no CUDA device is visible"
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return f"the probe search failed (exit {done.returncode}): {said[-1] if said else 'no message'}"


def use_gpu(device: Device, fault: str | None) -> tuple[bool, str]:
    """Decide where to search.

    Args:
        device: As asked for.
        fault: Why there is no usable GPU, or None where there is one.

    Returns:
        Whether to use the GPU, and one line for people (empty where nothing needs saying).

    Raises:
        ConfigError: ``cuda`` was asked for and there is no usable GPU.
    """
    if device == "cpu":
        return False, ""
    if fault is None:
        return True, "FAISS searches on the GPU"
    if device == "cuda":
        raise ConfigError(
            f"device = 'cuda': FAISS cannot use a GPU here: {fault}. Allowed: cpu, auto (falls back), "
            "or cuda with a GPU build: pip uninstall -y faiss-cpu && pip install 'stagelens[gpu]'."
        )
    return False, f"FAISS searches on the CPU: {fault}"
