"""The schema of ``summary.json`` (JSON Schema, draft 2020-12), and its check."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from stagelens.pipeline.errors import DataError, require
from stagelens.pipeline.report.section import LOSSES

SUM_TOLERANCE = 1e-12


def schema() -> dict[str, Any]:
    """Return the schema that ships with the package."""
    text = (files("stagelens.pipeline.report") / "summary.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def validate(summary: Mapping[str, Any]) -> None:
    """Check a summary against the schema, and that every loss partition sums to 1.

    Raises:
        DataError: It does not fit; the message lists the first faults with their places.
        MissingExtra: jsonschema is not installed (extra ``dev``).
    """
    jsonschema = require("jsonschema", "dev")
    checker = jsonschema.Draft202012Validator(schema())
    faults = [
        f"{'/'.join(map(str, error.absolute_path)) or 'summary'}: {error.message}"
        for error in sorted(checker.iter_errors(summary), key=lambda e: list(map(str, e.absolute_path)))
    ]
    if not faults:
        faults = [*_sums(summary), *_not_finite(summary, "summary")]
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise DataError(f"summary does not fit its schema: {'; '.join(faults[:5])}{more}")


def _sums(summary: Mapping[str, Any]) -> list[str]:
    faults = []
    for place, system in enumerate(summary["systems"]):
        if system["losses"] is not None:
            total = math.fsum(system["losses"][name] for name in LOSSES)
            if abs(total - 1) > SUM_TOLERANCE * len(LOSSES):
                faults.append(f"systems/{place}/losses: the six classes sum to {total!r}, not 1")
    return faults


def _not_finite(value: Any, where: str) -> list[str]:
    """Find NaN and infinity, which are numbers to the schema and no JSON at all."""
    if isinstance(value, Mapping):
        return [fault for key, part in value.items() for fault in _not_finite(part, f"{where}/{key}")]
    if isinstance(value, list | tuple):
        return [fault for place, part in enumerate(value) for fault in _not_finite(part, f"{where}/{place}")]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{where}: {value!r} is not JSON; write null"]
    return []
