"""The certificate as a table on a terminal, and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagelens.pipeline.certify.bounds import BOUNDS
from stagelens.pipeline.certify.certificate import Certificate
from stagelens.pipeline.certify.figures import Figure
from stagelens.pipeline.certify.worlds import KINDS, SETTINGS, study
from stagelens.pipeline.store import write_text

if TYPE_CHECKING:
    from rich.console import Console

TITLES = {"recall": "recall", "rerank": "re-rank", "both": "end to end"}
NAMES = {
    "false_helps": "false helps",
    "false_hurts": "false hurts",
    "coverage": "coverage",
    "bias_se": "bias of the measurement (in standard errors)",
    "power": "power at detectable",
    "power_twice": "power at twice that",
    "ordering": "order of modalities",
    "stage_ordering": "sign of the stage difference",
    "sparsity_helps": "false helps, two budgets, area and growth",
    "sparsity_hurts": "false hurts, two budgets, area and growth",
    "sparsity_coverage": "coverage, two budgets, area and growth",
    "absent_helps": "nothing on against absent: helps",
    "absent_hurts": "nothing on against absent: hurts",
    "absent_harm": "its true effect",
    "absent_measured": "its measured effect",
    "absent_coverage": "its coverage",
    "bias": "bias of the measurement",
    "coverage_strong": "coverage, strong effects",
    "truth_error": "Monte-Carlo error of the truth (in standard errors)",
    "planted_gap": "planted effect over detectable, less 1",
    "left_too_weak": "left out of power: too weak",
    "left_too_strong": "left out of power: too strong",
    "left_no_meeting": "left out of power: no meeting",
    "left_twice_too_weak": "left out at twice: too weak",
    "left_twice_too_strong": "left out at twice: too strong",
    "left_twice_no_meeting": "left out at twice: no meeting",
    "exposure_bias": "bias of the policy: true under it less true under even exposure",
    "exposure_coverage": "coverage of the truth under even exposure",
}
MEANS = {"bias", "bias_se", "absent_harm", "absent_measured", "truth_error", "planted_gap", "exposure_bias"}
INTRO = """# Certification

Are the instrument's verdicts right? Many small worlds, whose truth is known, are examined with the instrument that
studies use: its arms, its fits, its ranks, its judgement. Made again by

    {command}

The *true* metric of a fitted system is the mean over users of fresh logs from the same world and policy, its training
data fixed; here the mean over {draws} fresh logs, none of which the study sees. The *true* difference of two systems is
what an interval has to cover. Brackets are Wilson's 95 % intervals over worlds (normal ones for means).

Code that the findings follow from: `{code}` (SHA-256 over its files), with {libraries}.
"""
READING = """
## How each figure is made

- **False helps, false hurts** (null worlds): four row permutations of a text that carries nothing, each against each:
  six comparisons judged as one family. A world counts when any of them is called `helps` (`hurts`).
- **Nothing on against absent** (null worlds): text that carries nothing, on against absent, a family of its own. It may
  truly harm, so `hurts` can be right; its true effect, the measured one over the same worlds (every fourth) and the
  coverage stand beside.
- **Coverage, bias** (signal worlds): base + text and base + image against the base, one family; a world counts as
  covered when both simultaneous intervals hold their truths. *Bias of the measurement* is measured less true, both
  under the policy that made the logs.
- **Signal worlds were chosen.** Sizes and laws were set before the long run, after a handful of worlds of each kind
  were tried: many items, each with few held-out pairs. The interval treats items as a sample, while fresh logs of one
  world keep its items. With few items whose effects are strong and unlike it is wider than this truth needs: coverage
  is near 100 % there, which is conservative and not 95 %.
- **Power** (planted worlds): a system serves a modality's lists to each user with a chance, the base lists otherwise,
  so its true effect is that chance times the full one. A pilot on one fresh log reports what is detectable; the chance
  is set where the true effect is exactly that (within 1 %), or exactly twice what a pilot reports there. The study
  then judges its own log. This pilot is a fresh log of full size of the same fitted systems; the one of
  `simulate estimate` is a sample of users with systems of its own, and is not examined here. Worlds in which no chance
  from {fewest:.0%} to 100 % will do, with either modality, are left out and counted: *too weak*, everybody is not
  enough; *too strong*, fewer would do; *no meeting*, within 1 %. That is decided before the study's log is judged.
- **Order of modalities, sign of the stage difference** (planted worlds): right when the measured difference has the
  sign of the true one, over worlds whose true gap exceeds what the study calls detectable. The stage difference is
  the one of `simulate attribute`.
- **Two budgets, area and growth** (recall; null and signal worlds): worth with all and with {share:.0%} of the
  training interactions, the area under it and its growth, one family as in `simulate sparsity`. In null worlds the same
  six pairs of copies; in signal worlds both modalities against the base, covered when all eight intervals hold their
  truths.
- **Coverage, strong effects** (planted worlds, no bound): what the choice of the signal worlds leaves out.
- **Even exposure** (exposed worlds, no bound): users who are shown popular items leave logs that reward popular lists.
  The same systems, judged by logs in which every item is examined alike, have another worth; the difference is the
  *bias of the policy*, which no interval made from its logs can see.
"""
BREAKING = """
## The certificate can fail

The same figures of instruments that are broken on purpose. One is found out at a stage when the interval of a figure
leaves its bound out, with however few worlds; the sound instrument needs a quarter of a certificate's worlds to fail.

- **Leaky features**: of two copies of a text that carries nothing, one is shown the held-out pairs in its queries.
- **Unpaired arms**: each system is judged as if measured on users and items of its own.
- **No correction for the family**: each comparison of a family is judged as if it were the only one.
"""

LIMITS = """
## What is not certified

- Training noise: every study here has one seed. How seeds enter an interval is not examined.
- The defaults of studies: merge weights are equal here, not chosen on valid; the re-ranker is small, and
  at re-rank it is measured on the base view, the base's fixed list, alone.
- `Side` columns, approximate indexes, other channels and re-rankers, and cold or sparse slices.
- Of fewer data: other ways of thinning, more budgets than two, crossings and shares won back (their bands).
- Sizes beyond these small worlds, and real data: worlds obey a law, data need not.
- What `simulate estimate` foresees.
"""


def lines(made: Certificate) -> list[str]:
    """Return what the certificate says in two lines: of the instrument, and of those broken on purpose."""
    stages = ", ".join(TITLES[stage] for stage in made.figures)
    missed = ", ".join(f"{what} at {TITLES[stage]}" for what, stage in made.not_found)
    found = f"no (not: {missed})" if missed else "yes"
    return [
        f"{made.answer.capitalize()} ({stages}; {made.worlds['null']:,} null worlds).",
        f"Every broken instrument was found out: {found}.",
    ]


def command(made: Certificate) -> str:
    """Return the line that makes the page again."""
    stage = f" --stage {next(iter(made.figures))}" if len(made.figures) == 1 else ""
    return f"simulate certify{stage} --worlds {made.worlds['null']} --write docs/certification.md"


def shown(name: str, figure: Figure) -> str:
    """Return a figure with its interval and the number of worlds."""
    value, low, high, n = figure["value"], figure["low"], figure["high"], figure["n"]
    if value is None:
        return "-"
    if name in MEANS:
        between = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
        return f"{value:+.4f}{between} ({n:,})"
    assert low is not None
    assert high is not None
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] ({n:,})"


def show(made: Certificate, console: Console) -> None:
    """Print the answer, a table a stage, then what the broken instruments did."""
    from rich.table import Table

    console.print("\n".join(lines(made)) + "\n", soft_wrap=True, highlight=False, markup=False)
    for stage in made.figures:
        table = Table(title=f"{TITLES[stage]}", title_justify="left", box=None, pad_edge=False)
        for column in ("figure", "found, 95 % interval (worlds)", "bound", "verdict"):
            table.add_column(column, no_wrap=column == "verdict")
        for row in _rows(made, stage):
            table.add_row(*row)
        console.print(table)
        console.print()
    table = Table(title="Broken on purpose", title_justify="left", box=None, pad_edge=False)
    for column in ("what is broken", "stage", "figure", "found, 95 % interval (worlds)", "verdict"):
        table.add_column(column, no_wrap=column == "verdict")
    for row in _broken_rows(made):
        table.add_row(*row)
    console.print(table)


def write(made: Certificate, path: Path) -> None:
    """Write the page."""
    write_text(path, text(made))


def text(made: Certificate) -> str:
    """Return the page as Markdown."""
    from stagelens.pipeline.certify.planting import FEWEST
    from stagelens.pipeline.certify.sparse import BUDGETS

    draws = SETTINGS["signal"].draws
    versions = ", ".join(f"{name} {version}" for name, version in made.libraries.items())
    intro = INTRO.format(command=command(made), draws=draws, code=made.code[:12], libraries=versions)
    first, second = lines(made)
    parts = [intro, f"**{first}** {second}"]
    for stage in made.figures:
        rows = [("Figure", "Found", "Bound", "Verdict"), *_rows(made, stage)]
        parts += [f"\n## {TITLES[stage].capitalize()}\n", *_table(rows)]
    parts += [READING.format(fewest=FEWEST, share=BUDGETS[-1]), BREAKING]
    rows = [("Broken", "Stage", "Figure", "Found", "Verdict"), *_broken_rows(made)]
    parts += [*_table(rows), LIMITS.rstrip("\n"), "\n## The worlds\n", *_worlds(made)]
    return (
        "\n".join(part.rstrip("\n") if part.startswith("|") else part for part in parts).rstrip("\n") + "\n"
    )


def _rows(made: Certificate, stage: str) -> Iterator[tuple[str, ...]]:
    figures, said = made.figures[stage], made.verdicts[stage]
    bounds = {bound.figure: bound.says for bound in BOUNDS}
    for name, title in NAMES.items():
        if name in figures:
            yield title, shown(name, figures[name]), bounds.get(name, ""), said.get(name, "")


def _broken_rows(made: Certificate) -> Iterator[tuple[str, ...]]:
    for stage, broken in made.broken.items():
        for what, figures in broken.items():
            for name, figure in figures.items():
                verdict = made.broken_verdicts[stage][what].get(name, "")
                yield what, TITLES[stage], NAMES[name], shown(name, figure), verdict


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    head, *body = rows
    return [f"| {' | '.join(row)} |" for row in (head, tuple("-" * 3 for _ in head), *body)]


def _worlds(made: Certificate) -> Iterator[str]:
    for kind in KINDS:
        setting = SETTINGS[kind]
        sizes = " or ".join(f"{items} items and {size} candidates" for items, size in setting.sizes)
        fields = ", ".join(f"{name} {value}" for name, value in setting.world.items())
        base = ", ".join(setting.base)
        yield f"- **{kind}** ({made.worlds[kind]:,} worlds). {setting.about} {sizes}; {fields}; base: {base}."
    yield _common(study("null", 0).model_dump())


def _common(options: Mapping[str, Any]) -> str:
    groups = ", ".join(table["use"].removeprefix("rerank.") for table in options["rerank"]["groups"])
    reranker = ", ".join(f"{name} {value}" for name, value in options["rerank"]["reranker"].items())
    measure = options["measure"]
    return (
        f"\nIn all: one seed, split by time, content channels `Dense`, merge weights equal (chosen on valid, a "
        f"channel of noise is mostly refused, and then nothing differs at all); re-ranker {reranker}, reading {groups} "
        f"and the modality's `Similarity`; margin {measure['margin']}, alpha {measure['alpha']}."
    )
