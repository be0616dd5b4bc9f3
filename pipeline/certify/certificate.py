"""``simulate certify``: how many worlds of each kind, what was found, and whether it is good enough."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagelens.pipeline.certify.bounds import Verdict, verdicts
from stagelens.pipeline.certify.figures import Figure, broken, figures
from stagelens.pipeline.certify.pool import Batch, run
from stagelens.pipeline.certify.worlds import KINDS, Kind, setting_key
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.native import available_cores
from stagelens.pipeline.progress import Progress, Silent
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.store import write_text

STAGES: tuple[Stage, ...] = ("recall", "rerank", "both")
WORLDS = 2000
"""Null worlds of a certificate; the other kinds take a share of them."""
QUICK = 40
SHARES: dict[Kind, float] = {"null": 1.0, "leaky": 0.05, "signal": 0.5, "planted": 0.4, "exposed": 0.1}
FEWEST = 4
"""Worlds of a kind at least."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was found.

    Attributes:
        worlds: Examined, by kind.
        figures: By stage and name.
        verdicts: On figures that have a bound, likewise.
        broken: Figures of broken instruments: by stage, what is broken, and name.
        broken_verdicts: On those that have a bound, likewise.
        fingerprint: Of the settings, the stages and the numbers of worlds.
    """

    worlds: Mapping[str, int]
    figures: Mapping[str, Mapping[str, Figure]]
    verdicts: Mapping[str, Mapping[str, Verdict]]
    broken: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    broken_verdicts: Mapping[str, Mapping[str, Mapping[str, Verdict]]]
    fingerprint: str

    def summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds."""
        return {
            "schema_version": 1,
            "name": "certify",
            "kind": "certify",
            "fingerprint": self.fingerprint,
            "worlds": dict(self.worlds),
            "certification": {
                stage: {
                    **made,
                    "verdicts": dict(self.verdicts[stage]),
                    "broken": {
                        what: {**found, "verdicts": dict(self.broken_verdicts[stage][what])}
                        for what, found in self.broken[stage].items()
                    },
                }
                for stage, made in self.figures.items()
            },
        }


def certify(
    worlds: int = WORLDS,
    *,
    stages: Sequence[Stage] = STAGES,
    processes: int | None = None,
    out: Path = Path("runs/certify"),
    progress: Progress | None = None,
) -> Certificate:
    """Examine many small worlds whose truth is known; worlds that the folder holds already are not made again.

    Args:
        worlds: Null worlds; the other kinds take a share of them.
        stages: Which are certified.
        processes: One world each at a time; by default one a core.
        out: Folder of the found worlds and of ``summary.json``.
        progress: Shown while it runs.

    Raises:
        OSError: The folder cannot be written.
    """
    wanted = tuple(stage for stage in STAGES if stage in stages)
    keys = {kind: setting_key(kind, wanted) for kind in KINDS}
    batches = [
        Batch(kind, out / "worlds" / f"{kind}-{keys[kind][:12]}.jsonl", max(round(worlds * share), FEWEST))
        for kind, share in SHARES.items()
    ]
    found = run(batches, wanted, processes or available_cores(), progress or Silent())
    counts = {kind: len(lines) for kind, lines in found.items()}
    made = certificate(found, wanted, fingerprint("certificate", keys, counts))
    write_text(out / "summary.json", json.dumps(made.summary(), indent=1) + "\n")
    return made


def certificate(
    found: Mapping[Kind, Sequence[Mapping[str, Any]]], stages: Sequence[Stage], key: str
) -> Certificate:
    """Return the certificate that findings make."""
    sound: dict[str, dict[str, Figure]] = {stage: figures(found, stage) for stage in stages}
    failing: dict[str, dict[str, dict[str, Figure]]] = {stage: broken(found, stage) for stage in stages}
    return Certificate(
        {kind: len(lines) for kind, lines in found.items()},
        sound,
        {stage: verdicts(made) for stage, made in sound.items()},
        failing,
        {stage: {what: verdicts(one) for what, one in made.items()} for stage, made in failing.items()},
        key,
    )
