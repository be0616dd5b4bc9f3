"""How fast Amazon Reviews are imported, how that grows with their number, and the memory it takes.

Every size is written as lines of 2014 (reviews of some 500 bytes; items by falling popularity), imported by
``simulate data import`` in a process of its own, and deleted. Prints lines per second, processor seconds and the
process's peak memory; with ``--stdlib`` also what the standard library's JSON alone would take.

    python benchmarks/imports.py [--lines 1000000 3000000 10000000] [--folder DIR] [--gzip] [--limit 4] [--stdlib]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BLOCK = 100_000
SHIFT = 10**9
COMMAND = "import sys; from stagelens.pipeline.cli import main; sys.exit(main())"
WORDS = (
    "the a soft little tutu for my daughter fits well and arrived on time but colour is not as shown".split()
)


def made(path: Path, lines: int, seed: int = 0) -> None:
    """Write lines of reviews: lines / 8 users, lines / 40 items."""
    rng = np.random.default_rng(seed)
    users, items = max(lines // 8, 10), max(lines // 40, 10)
    texts = [" ".join(rng.choice(WORDS, 45)) for _ in range(200)]
    opened = gzip.open(path, "wt", compresslevel=1) if path.suffix == ".gz" else path.open("w")
    with opened as stream:
        for start in range(0, lines, BLOCK):
            count = min(BLOCK, lines - start)
            user = rng.integers(users, size=count)
            item = np.minimum((items ** rng.random(count)).astype(np.int64), items - 1)
            stars, text = rng.integers(1, 6, count), rng.integers(len(texts), size=count)
            time_of = rng.integers(950_000_000, 1_405_000_000, count)
            stream.writelines(
                f'{{"reviewerID": "A{SHIFT + u}XYZ", "asin": "B{SHIFT // 10 + i}", "reviewerName": "J. D.", '
                f'"helpful": [2, 3], "reviewText": "{texts[t]}", "overall": {s}.0, "summary": "{texts[t][:40]}", '
                f'"unixReviewTime": {w}, "reviewTime": "09 13, 2009"}}\n'
                for u, i, s, t, w in zip(
                    user.tolist(), item.tolist(), stars.tolist(), text.tolist(), time_of.tolist(), strict=True
                )
            )


def imported(source: Path, target: Path) -> dict[str, float]:
    """Import in a process of its own; return what it took."""
    words = [sys.executable, "-c", COMMAND, "data", "import", "amazon", str(source), str(target)]
    started = time.perf_counter()
    process = subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the import ended with status {process.returncode}")
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        **{key: said[key] for key in ("read", "events", "users", "items")},
    }


def stdlib(source: Path) -> float:
    """Return the processor seconds of reading the lines with ``json.loads``, and nothing else."""
    started = time.process_time()
    with gzip.open(source) if source.suffix == ".gz" else source.open("rb") as stream:
        for line in stream:
            json.loads(line)
    return time.process_time() - started


def main() -> int:
    """Print one line a size; return 1 where the memory is above the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument(
        "--folder", type=Path, help="Where the lines are written; default: a temporary folder."
    )
    parser.add_argument("--gzip", action="store_true", help="Write .json.gz.")
    parser.add_argument("--limit", type=float, default=4, help="GiB that no import may exceed.")
    parser.add_argument("--stdlib", action="store_true", help="Also time the standard library's JSON.")
    given = parser.parse_args()
    print(
        f"{'lines':>11} {'file':>9} {'seconds':>8} {'a second':>9} {'cpu s':>7} {'us a line':>9} {'peak':>9} "
        f"{'users':>10} {'items':>8} {'events':>11}"
    )
    above = False
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for lines in given.lines:
            source = Path(folder) / ("reviews.json.gz" if given.gzip else "reviews.json")
            made(source, lines)
            found = imported(source, Path(folder) / f"imported-{lines}")
            assert found["read"] == lines
            peak = found["peak_bytes"] / 2**30
            above |= peak > given.limit
            print(
                f"{lines:>11,} {source.stat().st_size / 2**20:>5,.0f} MiB {found['wall_s']:>8.1f} "
                f"{lines / found['wall_s']:>9,.0f} {found['cpu_s']:>7.1f} {found['cpu_s'] / lines * 1e6:>9.2f} "
                f"{peak:>5.2f} GiB {found['users']:>10,} {found['items']:>8,} {found['events']:>11,}",
                flush=True,
            )
            if given.stdlib:
                print(f"{'json.loads alone':>40} {stdlib(source):>16.1f}", flush=True)
            source.unlink()
    if above:
        print(f"above the limit of {given.limit} GiB")
    return int(above)


if __name__ == "__main__":
    sys.exit(main())
