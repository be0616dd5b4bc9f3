"""Why the power of a certificate is what it is: how far planted effects and their errors move together.

Reads the worlds that ``simulate certify --out FOLDER`` keeps and prints, for effects planted at exactly what a pilot
called detectable, a line a stage: the rate of ``helps``; what the effects average in the study's own standard errors,
and what was meant; the standard deviation of estimate over error; the correlation of estimate and error; how far what
is detectable spreads around what the pilot reported.

    python benchmarks/certified_power.py runs/certify
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

STAGES = ("recall", "rerank", "both")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    [path] = sorted((parser.parse_args().folder / "worlds").glob("planted-*.jsonl"))
    worlds = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print(
        f"{'stage':<8}{'worlds':>7}{'helps':>8}{'in errors':>11}{'meant':>8}{'sd':>7}{'corr':>7}{'spread':>8}"
    )
    for stage in STAGES:
        rows = [one[stage]["times 1"] for one in worlds if stage in one and one[stage]["times 1"]]
        if not rows:
            continue
        said, true, se, reach, pilot = (
            np.array([row[name] for row in rows])
            for name in ("difference", "true", "se", "detectable", "pilot")
        )
        helps = np.mean([row["verdict"] == "helps" for row in rows])
        together = np.corrcoef((said - true) / se.mean(), se)[0, 1]
        print(
            f"{stage:<8}{len(rows):>7}{helps:>8.3f}{np.mean(true / se):>11.2f}{np.mean(reach / se):>8.2f}"
            f"{np.std(said / se):>7.2f}{together:>7.2f}{np.std(reach / pilot):>8.2f}"
        )


if __name__ == "__main__":
    main()
