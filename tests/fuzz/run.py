"""Coverage-guided fuzzing of every parser that reads files of strangers.

    python tests/fuzz/run.py [--seconds 600] [--parser NAME ...] [--work DIR] [--timeout 20]
    python tests/fuzz/run.py --replay FILE --parser NAME

Each parser gets a process and ``--seconds`` of processor time of its own. Whatever is neither read nor refused with a
``ConfigError`` or ``DataError`` is a crash; an input that takes more than ``--timeout`` processor seconds is a hang;
one that takes more memory than ``--memory`` is a crash as well. One input of every kind of fault, and the
corpus that was found, stay in ``--work``.
Needs atheris, which runs on Linux and macOS: pip install atheris. Exit status 1 where anything failed.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from harnesses import PARSERS, harnesses
from inputs import TOKENS

WALL = 30
"""An input that does not end is given up after this many times ``--timeout`` by the clock; the machine may be busy."""
INSTALL = "atheris is needed here and not installed. Install it with: pip install atheris"


def compiled() -> list[str]:
    """Return the modules that numba compiles, which must stay as they are."""
    import importlib.util

    found = []
    for room in ("pipeline", "recall"):
        spec = importlib.util.find_spec(f"stagelens.{room}")
        for top in (spec.submodule_search_locations or []) if spec else []:
            for path in Path(top).rglob("*.py"):
                if "numba" in path.read_text(encoding="utf-8"):
                    parts = path.relative_to(top).with_suffix("").parts
                    found.append(".".join(("stagelens", room, *parts)).removesuffix(".__init__"))
    return found


def fuzz_one(name: str, seconds: float, work: Path, timeout: int, memory: int) -> None:
    """Fuzz one parser in this process, until its processor time is spent; never returns."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    atheris.instrument_imports(include=["stagelens"], exclude=compiled()).__enter__()
    harness = harnesses()[name]
    corpus, current, ends = work / name, work / f"{name}.current", Counter[str]()
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(harness.seeds()):
        (corpus / f"seed-{at}").write_bytes(seed)
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as temporary:
        folder, started = Path(temporary) / "data", time.process_time()

        faults: dict[str, str] = {}

        def once(data: bytes) -> None:
            before = time.process_time()
            if before - started > seconds:
                told = {"cpu_s": before - started, "ends": ends, "faults": faults}
                print(f"STATS {json.dumps(told)}", flush=True)
                os._exit(0)
            current.write_bytes(data)  # what a signal or an endless loop leaves behind
            try:
                ends[harness.read(data, folder)] += 1
                fault = "hang" if time.process_time() - before > timeout else ""
            except Exception as error:
                ends["crash"] += 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
                if fault not in faults:
                    traceback.print_exc()
            if fault and fault not in faults:
                kept = work / f"{name}-{hashlib.sha256(fault.encode()).hexdigest()[:8]}.bin"
                kept.write_bytes(data)
                faults[fault] = kept.name

        words = [
            sys.argv[0],
            f"-timeout={WALL * timeout}",
            f"-rss_limit_mb={memory}",
            "-max_len=200000",
            "-seed=1",
        ]
        words += [f"-dict={_dictionary(work / 'tokens.dict')}"]
        words += [f"-artifact_prefix={work}/{name}-", "-print_final_stats=1", "-len_control=0", str(corpus)]
        atheris.Setup(words, once)
        atheris.Fuzz()


def _dictionary(path: Path) -> Path:
    """Write the odd values as a dictionary of the fuzzer."""
    quoted = ("".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS if 0 < len(token) <= 64)
    path.write_text("".join(f'"{token}"\n' for token in quoted), encoding="utf-8")
    return path


def fuzzed(name: str, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Fuzz one parser in a process of its own; return what came of it."""
    words = [sys.executable, __file__, "--one", "--parser", name, "--work", str(work)]
    words += ["--seconds", str(given.seconds), "--timeout", str(given.timeout), "--memory", str(given.memory)]
    log = work / f"{name}.log"
    with log.open("wb") as stream:
        done = subprocess.run(words, check=False, stdout=stream, stderr=subprocess.STDOUT)
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    stats = next(
        (json.loads(line[6:]) for line in text if line.startswith("STATS ")), {"cpu_s": 0.0, "ends": {}}
    )
    covered = [line for line in text if "cov: " in line]
    return {
        "status": done.returncode,
        "coverage": covered[-1].split("cov: ")[1].split()[0] if covered else "-",
        "log": log,
        **stats,
    }


def replay(name: str, file: Path) -> int:
    """Run one input as it is; return 1 where it fails."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            print(harnesses()[name].read(file.read_bytes(), Path(temporary) / "data"))
        except Exception:
            traceback.print_exc()
            return 1
    return 0


def main() -> int:
    """Fuzz, and print one line a parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600, help="Processor seconds a parser.")
    parser.add_argument("--parser", nargs="+", choices=sorted(PARSERS), default=list(PARSERS))
    parser.add_argument("--work", type=Path, help="Folder of corpus and failures; default: a new one.")
    parser.add_argument("--timeout", type=int, default=20, help="Processor seconds an input.")
    parser.add_argument("--memory", type=int, default=2048, help="MiB of memory.")
    parser.add_argument("--replay", type=Path, help="Run one input.")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.replay:
        return replay(given.parser[0], given.replay)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(INSTALL, file=sys.stderr)
        return 4
    work = (given.work or Path(tempfile.mkdtemp(prefix="fuzz-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if given.one:
        fuzz_one(given.parser[0], given.seconds, work, given.timeout, given.memory)
    print(
        f"{'parser':<10} {'cpu s':>6} {'inputs':>9} {'a second':>8} {'read':>8} {'refused':>9} {'edges':>6}  failed"
    )
    failed = False
    for name in given.parser:
        found = fuzzed(name, given, work)
        ends = Counter(found["ends"])
        total, refused = ends.total(), ends["DataError"] + ends["ConfigError"]
        bad = "; ".join(f"{fault} ({file})" for fault, file in found["faults"].items())
        if found["status"] or not total:
            bad = f"ended with status {found['status']} at {name}.current, see {found['log']}"
        rate = total / max(found["cpu_s"], 1e-9)
        print(
            f"{name:<10} {found['cpu_s']:>6.0f} {total:>9,} {rate:>8,.0f} {ends['read']:>8,} {refused:>9,} "
            f"{found['coverage']:>6}  {bad or '-'}",
            flush=True,
        )
        failed |= bool(bad)
    print(f"corpus and failures: {work}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
