"""The report as a file: Markdown for a repository, one self-contained HTML page for a colleague."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from stagelens.pipeline.report.bars import loss_bars
from stagelens.pipeline.report.figures import clean
from stagelens.pipeline.report.section import Section
from stagelens.pipeline.report.sections import heading, sections

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.explain { opacity: .75; margin: .2rem 0 .6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th.text, td.text { text-align: left; }
pre { overflow-x: auto; font-size: .8rem; }
"""


def write(folder: Path, summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` into a run's folder, each whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    from stagelens.pipeline.store import write_text

    pages = {"report.md": markdown(summary, manifest), "report.html": html(summary, manifest)}
    for name, text in pages.items():
        write_text(folder / name, text)
    return folder / "report.md", folder / "report.html"


def markdown(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Return the report as Markdown with pipe tables."""
    parts = [f"# {_md(str(summary.get('name', 'StageLens')))}", *(_md(line) for line in heading(summary))]
    for section in sections(summary, complete=True):
        parts += [f"## {_md(section.title)}", _md(section.explain), _md_table(section)]
    parts += ["## Provenance", "\n".join(f"- {_md(line)}" for line in _provenance(summary, manifest))]
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    """Escape what Markdown or HTML would read as its own; line ends become spaces."""
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(clean(text).split()))
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _md_table(section: Section) -> str:
    rule = [":--" if _is_text(section, place) else "--:" for place in range(len(section.columns))]
    lines = [
        [_md(name) for name in section.columns],
        rule,
        *[[_md(cell) for cell in row] for row in section.rows],
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _is_text(section: Section, place: int) -> bool:
    return place < section.texts or section.columns[place] == "verdict"


def html(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Return the report as one HTML file: no script, no resource from elsewhere, every value escaped."""
    title = _html(str(summary.get("name", "StageLens")))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        *(f"<p>{_html(line)}</p>" for line in heading(summary)),
    ]
    for section in sections(summary, complete=True):
        parts += [f"<h2>{_html(section.title)}</h2>", f'<p class="explain">{_html(section.explain)}</p>']
        if section.title == "Where relevant items are lost":
            parts.append(loss_bars(summary))
        parts.append(_html_table(section))
    parts += ["<h2>Provenance</h2>", "<ul>"]
    parts += [f"<li>{_html(line)}</li>" for line in _provenance(summary, manifest)]
    record = _html(json.dumps(manifest, indent=2, sort_keys=True, default=str))
    parts += [
        "</ul>",
        f"<details><summary>manifest.json</summary><pre>{record}</pre></details>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _html(text: str) -> str:
    return escape(clean(text))


def _html_table(section: Section) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        kinds = [' class="text"' if _is_text(section, place) else "" for place in range(len(cells))]
        return (
            "<tr>"
            + "".join(f"<{tag}{k}>{_html(c)}</{tag}>" for c, k in zip(cells, kinds, strict=True))
            + "</tr>"
        )

    body = "\n".join(row(cells, "td") for cells in section.rows)
    head = row(section.columns, "th")
    return f'<div class="wide"><table><thead>{head}</thead>\n<tbody>{body}</tbody></table></div>'


def _provenance(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    lines = [f"fingerprint {summary.get('fingerprint', '')}"]
    lines += [
        f"data {name}: {digest}" for name, digest in (summary.get("dataset", {}).get("hashes") or {}).items()
    ]
    for key in ("seeds", "versions"):
        value = manifest.get(key)
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {version}" for name, version in value.items())
        if value:
            lines.append(f"{key}: {value}")
    return [*lines, "figures are rounded here; summary.json and the Parquet files hold full precision"]
