"""Fewer data: the tables of ``simulate sparsity``, the line that answers first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stagelens.pipeline.report import figures
from stagelens.pipeline.report.section import Record, Section

BARS = "▁▂▃▄▅▆▇█"
SIGNS = {"helps": "helps", "hurts": "hurts", "no difference": "none", "cannot tell": "?"}
HOW = {
    "uniform": "a random share of the training interactions",
    "oldest": "the oldest training interactions",
    "newest": "the newest training interactions",
    "per-user": "k training interactions of each user",
    "per-item": "k training interactions of each item",
    "cold-items": "the training interactions of a share of the items, all of them, and none of the other items'",
    "cold-users": "the training interactions of a share of the users, all of them, and none of the other users'",
    "modality": "the vectors of a share of the items",
}


def curves(summary: Record) -> Section | None:
    """Return every system at every budget, the deepest cut-off of its stage, with a sparkline."""
    block, labels = _block(summary), _labels(summary)
    rows = _primary(summary)
    if not rows:
        return None
    table, lines = [], []
    for stage in ("recall", "both"):
        there = [row for row in rows if row["stage"] == stage]
        known = [row["mean"] for row in there if row["mean"] is not None]
        for system, part in _grouped(there, "system"):
            found = {row["label"]: row["mean"] for row in part}
            means = [found.get(label) for label in labels]
            spark = sparkline(means, min(known, default=0.0), max(known, default=1.0))
            metric = str(part[0]["metric"])
            table.append((system, metric, spark, *(figures.plain(mean) for mean in means)))
            said = ", ".join(f"{a} {figures.plain(b)}" for a, b in zip(labels, means, strict=True))
            lines.append(f"{system}, {metric} {spark}: {said}.")
    return Section(
        "Recall over budgets",
        f"Kept: {HOW[block['how']]}; everything first. Test users, split and the seen items that are masked stay the "
        f"same; merge weights {_tuning(block)}. A channel alone is not filled up with popular items. Means over users; "
        f"higher is better; the bars share one scale a stage.{_notes(block)}",
        ("system", "metric", "curve", *labels),
        tuple(table),
        texts=3,
        lines=tuple(lines),
    )


def sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """Return one bar a value between two ends; a blank where there is none.

    Example:
        >>> sparkline([0.0, 0.5, None, 1.0], 0.0, 1.0)
        '▁▅ █'
    """
    reach = high - low
    bars = []
    for value in values:
        if value is None:
            bars.append(" ")
        else:
            part = (value - low) / reach if reach > 0 else 0.5
            bars.append(BARS[min(int(part * len(BARS)), len(BARS) - 1)])
    return "".join(bars)


def worth(summary: Record) -> Section | None:
    """Return worth and information at every budget, and what content wins back of the base's loss."""
    rows = _block(summary).get("worth", ())
    if not rows:
        return None
    return Section(
        "Worth at every budget",
        "worth: base with the modality minus base, simultaneous 95 % interval over all budgets, areas and growths; "
        "of base: worth over the base at that budget; information: minus the same with shuffled rows, a family of its "
        "own; won back: worth gained over what the base lost, both since everything was kept, where that loss is "
        "sure; the "
        "brackets of shares hold 95 % of their draws; positive is better.",
        (
            "system",
            "metric",
            "kept",
            "worth",
            "95 % interval",
            "p adj.",
            "verdict",
            "of base",
            "information",
            "won back",
        ),
        tuple(
            (
                str(row["system"]),
                str(row["metric"]),
                str(row["label"]),
                figures.signed(row["difference"]),
                _interval(row),
                figures.probability(row["p_adjusted"]),
                figures.verdict(row),
                *_beside(row),
            )
            for row in rows
        ),
        texts=3,
        lines=tuple(_worth_line(row) for row in rows),
    )


def _worth_line(row: Record) -> str:
    relative, information, back = _beside(row)
    return (
        f"{row['system']} at {row['label']}: {figures.verdict(row)}; {row['metric']} "
        f"{figures.signed(row['difference'])} {_interval(row)}, {relative} of the base; "
        f"information {information}; won back {back}."
    )


def over_all(summary: Record) -> Section | None:
    """Return the area under every worth curve, its growth, and where the modality alone overtakes interactions."""
    block = _block(summary)
    rows = block.get("area", ())
    if not rows:
        return None
    growth = {(row["system"], row["stage"]): row for row in block["growth"]}
    crossing: dict[Any, list[Record]] = {}
    for row in block["crossing"]:
        crossing.setdefault((row["system"], row["stage"]), []).append(row)
    table = []
    for row in rows:
        more = growth[row["system"], row["stage"]]
        alone = str(row["system"]).removeprefix("base + ")
        cross = "; ".join(_crossing(one) for one in crossing.get((alone, row["stage"]), ())) or figures.DASH
        table.append(
            (
                *(str(row["system"]), str(row["metric"])),
                *(
                    figures.signed(row["difference"]),
                    _interval(row),
                    figures.probability(row["p_adjusted"]),
                    figures.verdict(row),
                ),
                *(figures.signed(more["difference"]), _interval(more), figures.verdict(more)),
                *(_share(more.get("relative")), cross),
            )
        )
    return Section(
        "Is content worth more where data is sparse?",
        f"{block['answer']} area: mean worth over the range of budgets ({block['scale']} scale); growth: area minus "
        "the worth with everything kept, above 0: content is worth more where data is sparser; simultaneous 95 % "
        "intervals; of base: the growth of worth as a share of the base, with 95 % of its draws; overtakes: the share "
        "kept at which the modality alone passes an interaction channel alone (behind with everything, ahead at the "
        "smallest budget), 95 % of the places where drawn curves do, and the share of them that do; the base is "
        "filled with popular items, so content alone seldom passes it.",
        (
            *("system", "metric", "area", "95 % interval", "p adj.", "verdict"),
            *("growth", "95 % interval", "verdict", "of base", "overtakes"),
        ),
        tuple(table),
        texts=2,
        lines=tuple(
            f"{r[0]}, {r[1]}: area {r[2]} {r[3]}, {r[5]}; growth {r[6]} {r[7]}, {r[8]}, of the base {r[9]}; "
            f"overtakes: {r[10]}."
            for r in table
        ),
    )


def lost(summary: Record) -> Section | None:
    """Return what every system loses against itself with everything kept."""
    block = _block(summary)
    rows = block.get("loss", ())
    if not rows:
        return None
    answer = "" if block["worth"] else f"{block['answer']} "
    return Section(
        "What thinning costs",
        f"{answer}Each system minus itself with everything kept, a family of its own with simultaneous 95 % intervals; "
        "negative: recall is lost.",
        ("system", "metric", "kept", "difference", "95 % interval", "p adj.", "verdict"),
        tuple(
            (
                *(
                    str(row["system"]),
                    str(row["metric"]),
                    str(row["label"]),
                    figures.signed(row["difference"]),
                ),
                *(_interval(row), figures.probability(row["p_adjusted"]), figures.verdict(row)),
            )
            for row in rows
        ),
        texts=3,
    )


def _crossing(row: Record) -> str:
    return f"{row['baseline']} {_place(row)}"


def _place(row: Record) -> str:
    share = figures.share(row["share"])
    if row["budget"] is None:
        ahead = {"content": "content is ahead throughout", "interaction": "none in range"}
        words = ahead.get(str(row["ahead"]), "not from behind with everything to ahead at the smallest")
        return f"{words} ({share} of curves cross)"
    low, high = (figures.share(row[end]) for end in ("low", "high"))
    return f"at {figures.share(row['budget'])} [{low}, {high}] ({share} of curves cross)"


def _beside(row: Record) -> tuple[str, str, str]:
    """Return worth relative to the base, information and what is won back."""
    information = row.get("information") or {}
    word = SIGNS.get(str(information.get("verdict")), "")
    return (
        _share(row.get("relative")),
        f"{figures.signed(information.get('difference'))} {word}".strip(),
        _share(row.get("won_back")),
    )


def _share(row: Record | None) -> str:
    """Return a share with its interval."""
    if row is None or row["share"] is None:
        return figures.DASH
    low, high = row["low"], row["high"]
    ends = "" if low is None or high is None else f" [{figures.share(low)}, {figures.share(high)}]"
    return figures.share(row["share"]) + ends


def _notes(block: Record) -> str:
    return "".join(f" {note}" for note in block.get("notes", ()))


def _tuning(block: Record) -> str:
    return "chosen with everything kept" if block["tuning"] == "held" else "chosen anew at every budget"


def _block(summary: Record) -> Record:
    return summary.get("sparsity_study") or {}


def _labels(summary: Record) -> list[str]:
    return [str(row["label"]) for row in _block(summary).get("budgets", ())]


def _primary(summary: Record) -> list[Record]:
    """Return the points of the metric that verdicts are about: those that have a paired band."""
    if not _block(summary):
        return []
    return [row for row in summary.get("sparsity", ()) if "paired_low" in row]


def _grouped(rows: Iterable[Record], key: str) -> list[tuple[str, list[Record]]]:
    names = list(dict.fromkeys(str(row[key]) for row in rows))
    every = list(rows)
    return [(name, [row for row in every if row[key] == name]) for name in names]


def _interval(row: Record) -> Any:
    return figures.interval(row.get("low"), row.get("high"), sign=True)
