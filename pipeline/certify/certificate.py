"""``simulate certify``: how many worlds of each kind, what was found, and whether it is good enough."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagelens.pipeline.certify.bounds import Answer, Verdict, answer, verdicts
from stagelens.pipeline.certify.figures import Figure, broken, figures
from stagelens.pipeline.certify.instrument import code, libraries
from stagelens.pipeline.certify.pool import Batch, run
from stagelens.pipeline.certify.worlds import KINDS, Kind, setting_key
from stagelens.pipeline.experiment.option_table import Stage
from stagelens.pipeline.experiment.outputs import versions
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
"""Worlds of a kind at least, unless fewer null worlds are asked for."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was found.

    Attributes:
        worlds: Examined, by kind.
        figures: By stage and name.
        verdicts: On figures that have a bound, likewise.
        broken: Figures of broken instruments: by stage, what is broken, and name.
        broken_verdicts: On those that have a bound, likewise.
        keys: Fingerprint of the setting of each kind.
        code: Hash of the sources that findings follow from.
        libraries: Versions of those that compute.
        fingerprint: Of the settings, the stages and the numbers of worlds.
    """

    worlds: Mapping[str, int]
    figures: Mapping[str, Mapping[str, Figure]]
    verdicts: Mapping[str, Mapping[str, Verdict]]
    broken: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    broken_verdicts: Mapping[str, Mapping[str, Mapping[str, Verdict]]]
    keys: Mapping[str, str]
    code: str
    libraries: Mapping[str, str]
    fingerprint: str

    @property
    def answer(self) -> Answer:
        """What all bounds of the sound instrument say together."""
        return answer(one for said in self.verdicts.values() for one in said.values())

    @property
    def not_found(self) -> list[tuple[str, str]]:
        """Broken instruments, by what is broken and stage, that met or may yet meet all of their bounds."""
        return [
            (what, stage)
            for stage, broken in self.broken_verdicts.items()
            for what, said in broken.items()
            if "not met" not in said.values()
        ]

    def summary(self, manifest: str) -> dict[str, Any]:
        """Return what ``summary.json`` holds; ``manifest`` is the path of what made it."""
        return {
            "schema_version": 1,
            "name": "certify",
            "kind": "certify",
            "fingerprint": self.fingerprint,
            "dataset": {
                "name": "worlds of the certificate",
                "hashes": dict(self.keys),
                "statistics": {f"{kind} worlds": count for kind, count in self.worlds.items()},
            },
            "systems": [],
            "comparisons": [],
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
            }
            | {"answer": self.answer, "met": self.answer == "certified", "broken_found": not self.not_found},
            "manifest": manifest,
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
        Batch(
            kind,
            out / "worlds" / f"{kind}-{keys[kind][:12]}.jsonl",
            max(round(worlds * share), min(FEWEST, worlds)),
        )
        for kind, share in SHARES.items()
    ]
    found = run(batches, wanted, processes or available_cores(), progress or Silent())
    made = certificate(found, wanted, keys)
    manifest = {
        "versions": versions(),
        "code": made.code,
        "worlds": {batch.kind: str(batch.path) for batch in batches},
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_text(out / "summary.json", json.dumps(made.summary(str(out / "manifest.json")), indent=1) + "\n")
    return made


def certificate(
    found: Mapping[Kind, Sequence[Mapping[str, Any]]], stages: Sequence[Stage], keys: Mapping[Kind, str]
) -> Certificate:
    """Return the certificate that findings make."""
    sound: dict[str, dict[str, Figure]] = {stage: figures(found, stage) for stage in stages}
    failing: dict[str, dict[str, dict[str, Figure]]] = {stage: broken(found, stage) for stage in stages}
    counts: dict[str, int] = {kind: len(lines) for kind, lines in found.items()}
    hashes: dict[str, str] = dict(keys.items())
    return Certificate(
        counts,
        sound,
        {stage: verdicts(made) for stage, made in sound.items()},
        failing,
        {
            stage: {what: verdicts(one, broken=True) for what, one in made.items()}
            for stage, made in failing.items()
        },
        hashes,
        code(),
        libraries(),
        fingerprint("certificate", hashes, counts, tuple(stages)),
    )
