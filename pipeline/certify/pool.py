"""Many worlds in processes of their own, one line of JSON each: a killed run goes on, and more can be added."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from stagelens.pipeline.certify.worlds import Kind
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.progress import Progress

Found = dict[str, Any]


class Batch(NamedTuple):
    """Worlds of one kind.

    Attributes:
        kind: Which.
        path: File with what was found before, one line a world; what is missing is added.
        worlds: How many are wanted, numbers 0 to worlds - 1.
    """

    kind: Kind
    path: Path
    worlds: int


def read(path: Path) -> dict[int, Found]:
    """Return what a file holds by world; a line that is no world, or not all of one, is passed over."""
    worlds: dict[int, Found] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("world"), int):
            worlds[found["world"]] = found
    return worlds


def run(
    batches: Sequence[Batch], stages: Sequence[Stage], processes: int, progress: Progress
) -> dict[Kind, list[Found]]:
    """Examine the worlds that the files lack; return all that are wanted, in order.

    A world depends on its number alone, so neither the number of processes nor their order changes anything. The
    kinds advance side by side: whatever is there when a run is stopped is a smaller run.

    Raises:
        OSError: A file cannot be written; nothing was examined then.
    """
    for batch in batches:  # before anything is examined: a folder that cannot be written is known at once
        batch.path.parent.mkdir(parents=True, exist_ok=True)
        batch.path.touch()
    known = {batch.kind: read(batch.path) for batch in batches}
    missing = [
        ((number + 1) / batch.worlds, batch.kind, number)
        for batch in batches
        for number in range(batch.worlds)
        if number not in known[batch.kind]
    ]
    if missing:
        tasks = [(kind, number) for _, kind, number in sorted(missing)]
        paths = {batch.kind: batch.path for batch in batches}
        with progress.task(f"{len(tasks):,} worlds", len(tasks)) as task:
            for found in _examined(tasks, tuple(stages), processes):
                known[found["kind"]][found["world"]] = found
                _append(paths[found["kind"]], found)
                task.advance()
    return {batch.kind: [known[batch.kind][number] for number in range(batch.worlds)] for batch in batches}


def _examined(tasks: Sequence[tuple[Kind, int]], stages: tuple[Stage, ...], processes: int) -> Any:
    if processes == 1:
        for kind, number in tasks:
            yield alone(kind, number, stages)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _one_thread)
    try:
        waiting = [pool.submit(alone, kind, number, stages) for kind, number in tasks]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def alone(kind: Kind, number: int, stages: Sequence[Stage]) -> Found:
    """Examine one world on one thread."""
    from stagelens.pipeline.certify.trials import examine
    from stagelens.pipeline.native import limited

    with limited(1):
        return examine(kind, number, stages)


def _one_thread() -> None:
    from stagelens.pipeline.native import set_threads

    set_threads(1)


def _append(path: Path, found: Mapping[str, Any]) -> None:
    with path.open("a+b") as file:
        whole = True
        if file.tell():  # at the end: a killed run may have left a line without one
            file.seek(-1, 2)
            whole = file.read(1) == b"\n"
        file.write((("" if whole else "\n") + json.dumps(found) + "\n").encode())
