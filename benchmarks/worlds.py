"""How fast worlds are made, how that grows with their size, and the memory it takes.

Every size is made in a process of its own: users x items with 20 events a user on average and two modalities, 64 and
384 wide. Prints interactions per second of the whole generation, modalities included, processor seconds, and the
process's peak memory.

    python benchmarks/worlds.py [--users 10000 100000 1000000] [--items 100000] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

ACTIVITY = 20
MODALITIES = {"text": {"width": 384, "signal": 0.5}, "image": {"width": 64, "signal": 0.25, "missing": 0.1}}


def made(users: int, items: int) -> dict[str, float]:
    """Make one world in this process; return what it took."""
    import resource

    from stagelens.pipeline.worlds.world import World

    World(users=50, items=200).generate(0)  # compiles, or loads what was compiled
    started, cpu = time.perf_counter(), time.process_time()
    dataset = World(users=users, items=items, activity=ACTIVITY, modalities=MODALITIES).generate(1)
    wall = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "users": users,
        "items": items,
        "interactions": len(dataset.interactions),
        "wall_s": wall,
        "cpu_s": time.process_time() - cpu,
        "peak_bytes": peak,
    }


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help="Make one size in this process and print JSON.")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(made(given.users[0], given.items)))
        return
    print(
        f"{'users':>9} {'items':>8} {'interactions':>13} {'seconds':>8} {'a second':>10} {'cpu s':>7} {'peak':>9}"
    )
    environment = {**os.environ, "STAGELENS_THREADS": str(given.threads)}
    for users in given.users:
        words = [sys.executable, __file__, "--one", "--users", str(users), "--items", str(given.items)]
        done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
        found = json.loads(done.stdout)
        rate = found["interactions"] / found["wall_s"]
        print(
            f"{found['users']:>9,} {found['items']:>8,} {found['interactions']:>13,} {found['wall_s']:>8.1f} "
            f"{rate:>10,.0f} {found['cpu_s']:>7.0f} {found['peak_bytes'] / 2**30:>5.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
