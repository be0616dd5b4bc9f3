"""What is wrong with data: one value per finding, gathered by ``check`` and raised by ``load_dataset``."""

from __future__ import annotations

from dataclasses import dataclass, field

from stagelens.pipeline.data.codes import KINDS, NOTHING, Severity
from stagelens.pipeline.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One finding about a data set.

    Attributes:
        code: Stable name of the kind of finding, e.g. ``duplicate-pairs``.
        severity: ``error`` (cannot be loaded), ``warning`` (loads, numbers suffer) or ``note`` (a decision).
        where: File, and column where there is one.
        found: What is there.
        count: How many there are of ``unit``.
        unit: What is counted: rows, items, users, files, ...
        examples: A few of them: rows with their values; the place itself where there is nothing finer.
        effect: What it does to a study, or what was done about it.
        remedy: What is allowed, and the next step.
        mend: What ``--fix`` does about it; empty where that would be a guess.
    """

    code: str
    severity: Severity
    where: str
    found: str
    count: int
    unit: str
    examples: tuple[str, ...]
    effect: str
    remedy: str
    mend: str

    def __str__(self) -> str:
        """Return the finding as a load says it: no effect of an error, no remedy where none is needed."""
        news = self.shown()
        shown = f" (e.g. {', '.join(news)})" if news else ""
        effect = self.effect if self.severity != "error" else ""
        remedy = "" if self.is_fine else self.remedy
        return " ".join(part for part in (f"{self.where}: {self.found}{shown}.", effect, remedy) if part)

    @property
    def is_fine(self) -> bool:
        """Say whether there is nothing to do about it."""
        return self.remedy.startswith(NOTHING)

    def shown(self) -> tuple[str, ...]:
        """Return the examples that say more than the place."""
        return tuple(text for text in self.examples if text != self.where.rsplit("/", 1)[-1])


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
        code: str,
        where: str,
        found: str,
        *,
        count: int = 1,
        examples: tuple[str, ...] = (),
        effect: str = "",
        remedy: str = "",
    ) -> None:
        """Record a finding; its severity, and what is not said here, come from its kind in ``codes``.

        Raises:
            DataError: It is an error and the gathering is strict.
        """
        kind = KINDS[code]
        fault = Fault(
            code=code,
            severity=kind.severity,
            where=where,
            found=found,
            count=count,
            unit=kind.unit,
            examples=examples or (where.rsplit("/", 1)[-1],),
            effect=effect or kind.effect,
            remedy=remedy or kind.remedy,
            mend=kind.mend,
        )
        if kind.severity == "error" and self.strict:
            raise DataError(str(fault))
        self.faults.append(fault)

    def notes(self) -> tuple[str, ...]:
        """Return the findings as sentences, in order."""
        return tuple(str(fault) for fault in self.faults)
