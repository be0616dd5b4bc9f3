"""What is wrong with data: one value per finding, gathered by ``check`` and raised by ``load_dataset``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stagelens.pipeline.errors import DataError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One finding about a data set.

    Attributes:
        code: Stable name of the kind of finding, e.g. ``duplicate-pairs``.
        severity: ``error`` (cannot be loaded), ``warning`` (loads, numbers suffer) or ``note`` (a decision).
        where: File, and column where there is one.
        found: What is there.
        count: How many rows, items or users it concerns.
        examples: A few of them: rows with their values.
        effect: What it does to results, or what was done about it.
        remedy: What is allowed, and the next step.
    """

    code: str
    severity: Severity
    where: str
    found: str
    count: int = 1
    examples: tuple[str, ...] = ()
    effect: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        shown = f" (e.g. {', '.join(self.examples)})" if self.examples else ""
        return " ".join(
            part for part in (f"{self.where}: {self.found}{shown}.", self.effect, self.remedy) if part
        )


@dataclass(slots=True)
class Findings:
    """Gathers findings; a strict gathering stops at the first error.

    Attributes:
        strict: Raise ``DataError`` on an error, for loading; False gathers on, for checking.
        faults: What was found, in order.
    """

    strict: bool = True
    faults: list[Fault] = field(default_factory=list)

    def add(
        self,
        severity: Severity,
        code: str,
        where: str,
        found: str,
        *,
        count: int = 1,
        examples: tuple[str, ...] = (),
        effect: str = "",
        remedy: str = "",
    ) -> None:
        """Record a finding.

        Raises:
            DataError: It is an error and the gathering is strict.
        """
        fault = Fault(
            code=code,
            severity=severity,
            where=where,
            found=found,
            count=count,
            examples=examples,
            effect=effect,
            remedy=remedy,
        )
        if severity == "error" and self.strict:
            raise DataError(str(fault))
        self.faults.append(fault)

    def notes(self) -> tuple[str, ...]:
        """Return the findings as sentences, in order."""
        return tuple(str(fault) for fault in self.faults)
