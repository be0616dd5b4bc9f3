"""Lists for other tools: candidates.parquet, TREC runs and qrels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stagelens.pipeline.compose import Then
from stagelens.pipeline.core import Candidates
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.summary import Measured
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.workbench import Workbench

if TYPE_CHECKING:
    import pandas as pd


def export_lists(
    folder: Path,
    study: Study,
    measured: Sequence[Measured],
    benches: Mapping[str, Workbench],
    progress: Progress,
) -> None:
    """Write the test lists of every shown arm, first seed, block by block."""
    shown = [one for one in measured if one.arm.shown]
    with progress.task("exported lists", len(shown)) as task:
        if study.output.trec:
            _qrels(folder / "trec" / "qrels.txt", next(iter(benches.values())))
        writer: Any = None
        try:
            for one in shown:
                for lists in final_candidates(one, bench := benches[one.arm.variant]):
                    frame = lists.to_frame(bench.dataset.users, bench.dataset.items)
                    if study.output.trec:
                        _trec(folder / "trec", one, frame)
                    if study.output.candidates:
                        writer = _append(folder / "candidates.parquet", writer, one, frame)
                task.advance()
        finally:
            if writer is not None:
                writer.close()


def final_candidates(one: Measured, bench: Workbench) -> Iterator[Candidates]:
    """Yield the lists of an arm on test, in its own order."""
    window = bench.windows.test
    if isinstance(one.arm.system, Then):
        for _, _, _, orders in bench.orders([one.arm.system], window):
            yield orders[0]
    else:
        for start, stop in window.blocks(max(1, min(bench.block, 400_000 // one.arm.recall.size))):
            yield bench.candidates(one.arm.system, window, start, stop)[0]


def _append(path: Path, writer: Any, one: Measured, frame: pd.DataFrame) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    slim = frame[["user_id", "item_id", "rank", "score"]].copy()
    slim["score"] = slim["score"].astype(np.float32)
    slim.insert(0, "system", one.arm.name)
    slim.insert(1, "stage", one.arm.stage)
    slim.insert(2, "view", one.arm.view)
    table = pa.Table.from_pandas(slim, preserve_index=False)
    if writer is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = pq.ParquetWriter(path, table.schema, compression="zstd")
    writer.write_table(table)
    return writer


def run_tag(one: Measured) -> str:
    """Return the run name of an arm: words without blanks, as TREC files want them."""
    raw = f"{one.arm.stage}-{one.arm.name}"
    return "".join(sign if sign.isalnum() or sign in "-_~" else "_" for sign in raw.replace(" ", ""))


def _trec(folder: Path, one: Measured, frame: pd.DataFrame) -> None:
    """Append ``user Q0 item rank score tag``; the score is the negated rank, so that no tool re-breaks our ties."""
    folder.mkdir(parents=True, exist_ok=True)
    out = frame.assign(q0="Q0", order=-frame["rank"], tag=run_tag(one))
    columns = ["user_id", "q0", "item_id", "rank", "order", "tag"]
    out[columns].to_csv(folder / f"{run_tag(one)}.run", sep=" ", header=False, index=False, mode="a")


def _qrels(path: Path, bench: Workbench) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    truth, dataset = bench.windows.test.truth, bench.dataset
    with path.open("w", encoding="utf-8") as out:
        for row, item in zip(truth.pair_row.tolist(), truth.pair_item.tolist(), strict=True):
            out.write(f"{dataset.users[truth.user[row]]} 0 {dataset.items[item]} 1\n")
