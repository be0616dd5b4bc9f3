"""Peak memory of a whole two-stage run at 500 candidates a user, and how it grows with users.

    python benchmarks/memory.py                 # 18,000 and 180,000 users, one process each
    python benchmarks/memory.py --users 18000

Every user is a test user (per-user split). Prints the peak of the process, what of it the data and its windows take,
the peak of every phase, and how what the stages take beyond the data (``peak_bytes`` of a cost) grows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ITEMS, SIZE, TREES = 5_000, 500, 20

RUN = """
import json, sys
from pathlib import Path
users, items, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
from stagelens.pipeline.worlds.world import World
from stagelens.pipeline.data.write import write_dataset
write_dataset(World(users=users, items=items, activity=ACTIVITY).generate(0), folder)
"""


def make_world(users: int, items: int, folder: Path) -> None:
    """Write the world in a process of its own, so that its memory does not count."""
    subprocess.run(
        [sys.executable, "-c", RUN.replace("ACTIVITY", "12.0"), str(users), str(items), str(folder)],
        check=True,
    )


def measure(users: int, keep: Path, stage: str) -> dict[str, object]:
    """Run one study and return its manifest."""
    data, out = keep / f"world-{users}", keep / f"run-{users}"
    make_world(users, ITEMS, data)
    settings = [
        f"recall.size={SIZE}",
        'data.split="per-user"',
        'protocol.refit="full"',
        "measure.information=false",
        "measure.importance=false",
        "rerank.base_view=false",
        f'rerank.reranker={{use="rerank.LambdaMART",trees={TREES},min_trees={TREES}}}',
    ]
    command = [
        sys.executable,
        "-m",
        "stagelens.pipeline",
        "--dataset",
        str(data),
        "--modality",
        "text",
        "--stage",
        stage,
    ]
    command += ["--out", str(out), "--quiet", *[part for text in settings for part in ("--set", text)]]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=keep)
    manifest: dict[str, object] = json.loads((out / "manifest.json").read_text())
    manifest["wall_s"] = time.perf_counter() - started
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="*", default=[18_000, 180_000])
    parser.add_argument("--stage", choices=("recall", "rerank", "both"), default="both")
    options = parser.parse_args()
    peaks: list[int] = []
    with tempfile.TemporaryDirectory(prefix="stagelens-memory-") as name:
        for users in options.users:
            manifest = measure(users, Path(name), options.stage)
            phases = {}
            for phase in manifest["phases"]:
                phases[phase["name"]] = max(phases.get(phase["name"], 0), phase["peak_bytes"])
            total, loaded = int(manifest["peak_bytes"]), int(manifest["loaded_bytes"])
            peaks.append(total - loaded)
            print(
                f"{users:,} users x {SIZE}: {total / 2**30:.2f} GiB at most, {loaded / 2**30:.2f} of it data and "
                f"windows, stages {(total - loaded) / 2**30:.2f}; {manifest['wall_s']:.0f} s",
                flush=True,
            )
            print(
                "  " + ", ".join(f"{name} {value / 2**30:.2f}" for name, value in phases.items()), flush=True
            )
    if len(peaks) > 1:
        ratio = peaks[-1] / peaks[0]
        print(f"what the stages take beyond the data, last to first: {ratio:.3f} (wanted: .90 to 1.10)")


if __name__ == "__main__":
    main()
