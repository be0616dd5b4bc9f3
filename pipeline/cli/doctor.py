"""``simulate doctor``: is this machine fit?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

State = Literal["ok", "note", "broken"]

BASE = ("numpy", "scipy", "pandas", "pyarrow", "numba", "pydantic", "typer", "rich", "lightgbm")
OPTIONAL = ("faiss-cpu", "faiss-gpu-cu12", "torch")

TRAIN = """
import numpy as np, lightgbm
rows = np.arange(200.0).reshape(100, 2)
data = lightgbm.Dataset(rows, label=np.arange(100) % 2, group=[50, 50], params={"verbosity": -1})
lightgbm.train({"objective": "lambdarank", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 2)
"""
"""Trained in a process of its own: a missing OpenMP runtime or two of them end it, not the doctor."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: ``broken`` only where something needed does not work.
        found: What was found.
        remedy: The next step, or nothing.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Check versions, FAISS, LightGBM, OpenMP, GPU, threads and disk.

    Exit status 1 only when something that is needed is broken.
    """
    found = [check for run in CHECKS for check in run()]
    if json_:
        sys.stdout.write(json.dumps([asdict(check) for check in found], indent=2) + "\n")
    else:
        _print(found)
    if any(check.state == "broken" for check in found):
        raise typer.Exit(1)


def _print(found: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from stagelens.pipeline.cli.console import output
    from stagelens.pipeline.report.tables import draw

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    styles = {"ok": "green", "note": "yellow", "broken": "bold red"}
    for check in found:
        text = check.found + (f". {check.remedy}" if check.remedy else "")
        table.add_row(Text(check.state, style=styles[check.state]), Text(check.name), Text(text))
    console = output()
    draw(table, console)
    broken = [check.name for check in found if check.state == "broken"]
    console.print(f"\nBroken: {', '.join(broken)}." if broken else "\nThis machine is fit.")


def versions() -> list[Check]:
    """Return the versions in use; a missing base library is broken."""
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [f"python {sys.version.split()[0]}", f"stagelens {version('stagelens')}"], []
    for name in (*BASE, *OPTIONAL):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name in BASE:
                missing.append(name)
    if missing:
        return [
            Check("versions", "broken", f"missing: {', '.join(missing)}", "pip install stagelens brings them")
        ]
    return [Check("versions", "ok", ", ".join(found))]


def faiss() -> list[Check]:
    """Return the state of FAISS: absent, one wheel, or two that overwrite each other."""
    import importlib.util

    conflict = _devices().faiss_conflict()
    if conflict:
        return [Check("faiss", "broken", str(conflict))]
    if importlib.util.find_spec("faiss") is None:
        return [Check("faiss", "note", "absent: exact search runs on NumPy", "pip install 'stagelens[cpu]'")]
    fault = _python(
        "import faiss, numpy; axes = numpy.eye(4, dtype='float32')\n"
        "index = faiss.IndexFlatIP(4); index.add(axes)\n"
        "assert index.search(axes, 1)[1][2, 0] == 2, 'its search gives wrong answers'"
    )
    if fault is None:
        return [Check("faiss", "ok", "one wheel, search works")]
    return [Check("faiss", "broken", fault, "reinstall it: pip install --force-reinstall faiss-cpu")]


def gpu() -> list[Check]:
    """Return whether FAISS reaches a GPU; its absence is never a fault."""
    fault = _devices().gpu_fault()
    if fault is None:
        return [Check("gpu", "ok", "a search on the GPU gives the right answer")]
    return [Check("gpu", "note", f"not used: {fault}")]


def _devices() -> Any:
    """Return the recall room's module for devices: reached by name, the ground imports no room above it."""
    import importlib

    return importlib.import_module("stagelens.recall.devices")


def lightgbm() -> list[Check]:
    """Return whether LightGBM trains, and whether it does so in a process of its own."""
    from stagelens.pipeline.native import isolate_lightgbm

    fault = _python(TRAIN)
    if fault is not None:
        remedy = (
            "it needs the system's OpenMP runtime: apt-get install libgomp1 (Debian, Ubuntu), "
            "dnf install libgomp (Fedora), brew install libomp (macOS)"
        )
        return [Check("lightgbm", "broken", fault, remedy)]
    where = "in a process of its own" if isolate_lightgbm() else "in this process"
    return [
        Check("lightgbm", "ok", f"trains; runs {where} on this platform (STAGELENS_ISOLATE=0 or 1 overrides)")
    ]


def openmp() -> list[Check]:
    """Return the OpenMP runtime and how its threads wait."""
    import os
    from ctypes.util import find_library

    from stagelens.pipeline.native import loaded_too_early

    library = find_library("gomp") or find_library("omp")
    runtime = Check("openmp runtime", "ok" if library else "note", library or "no system libgomp found")
    policy = os.environ.get("OMP_WAIT_POLICY", "(unset)")
    early = loaded_too_early()
    if policy.upper() == "PASSIVE":
        return [runtime, Check("OMP_WAIT_POLICY", "ok", "PASSIVE")]
    remedy = "busy cores make LightGBM up to sixty times slower; unset it or set OMP_WAIT_POLICY=PASSIVE"
    loaded = f", {', '.join(early)} loaded before stagelens" if early else ""
    return [runtime, Check("OMP_WAIT_POLICY", "note", f"{policy}{loaded}", remedy)]


def threads() -> list[Check]:
    """Return the threads in force."""
    from stagelens.pipeline.native import available_cores, threads

    return [
        Check("threads", "ok", f"{threads()} of {available_cores()} available cores (--threads changes it)")
    ]


def disk() -> list[Check]:
    """Return whether runs can be written here, and the space left."""
    import os
    import shutil
    import tempfile

    from stagelens.pipeline.report.figures import memory

    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        return [
            Check("disk", "broken", f"{here} cannot be written: {error}", "change folder, or use --out DIR")
        ]
    free = shutil.disk_usage(here).free
    state: State = "ok" if free > 1 << 30 else "note"
    temporary = os.environ.get("TMPDIR", tempfile.gettempdir())
    return [Check("disk", state, f"{here} is writable, {memory(free)} free; temporary files in {temporary}")]


def _python(code: str) -> str | None:
    """Run code in a fresh interpreter; return None, or the last line of what went wrong."""
    import subprocess

    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer within two minutes"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended by signal or status {done.returncode}"


CHECKS: tuple[Callable[[], list[Check]], ...] = (versions, faiss, gpu, lightgbm, openmp, threads, disk)
