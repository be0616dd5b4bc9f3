"""TREC qrels as events, and runs as candidate lists beside the data.

The layouts (https://trec.nist.gov, ``trec_eval``): a line of qrels is ``user 0 item grade``, a line of a run is
``user Q0 item rank score tag``, words apart by blanks or tabs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from stagelens.pipeline.data.importers.files import decimal, inside, number, text_lines
from stagelens.pipeline.data.importers.parts import BLOCK, event_table, find_parts
from stagelens.pipeline.data.importers.reading import Reading
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

_ENDINGS = (".run", ".trec", ".run.gz", ".trec.gz")
_WINDOWS = {"train": ("train", "trn"), "valid": ("valid", "val", "dev"), "test": ("test", "eval")}


@recipe
class Trec(Recipe):
    """TREC qrels become events, runs become candidate lists that ``recall.FromFile`` reads."""

    role: ClassVar[Role] = "importer"

    train: str | None = None
    """Qrels of the training events; None: the file with qrels and train in its name, or the only qrels."""
    valid: str | None = None
    """Qrels of the validation events; None: the file with qrels and valid, val or dev in its name."""
    test: str | None = None
    """Qrels of the test events; None: the file with qrels and test or eval in its name."""
    runs: tuple[str, ...] | None = None
    """Files of runs; None: every .run and .trec, packed with gzip or not."""
    relevant: int = 1
    """Grade from which an item counts as chosen; those below were looked at and are impressions."""

    def read(self, source: Path) -> Reading:
        """Look a folder over; every line of the runs is looked at, those of qrels while they are read.

        Raises:
            ConfigError: An option names a file that is not there.
            DataError: No qrels, or a run with a broken line.
        """
        parts = find_parts(
            source, _known(source), {"train": self.train, "valid": self.valid, "test": self.test}
        )
        given = len(parts) > 1
        names = self.runs
        if names is None:
            names = tuple(sorted(entry.name for entry in source.iterdir() if entry.name.endswith(_ENDINGS)))
        lists: dict[str, Path] = {}
        for name in names:
            path = inside(source, name)
            if not path.exists():
                raise ConfigError(f"runs: no file {name!r} in {source}.")
            _check_run(path)
            lists[_list_name(path.name)] = path
        return Reading(
            events=(
                event_table(users, items, window if given else None, value=np.array(grades))
                for window, path in parts.items()
                for users, items, grades in self._judged(path, chosen=True)
            ),
            impressions=(
                event_table(users, items, None)
                for users, items, _ in self._judged(parts["train"], chosen=False)
            ),
            files=(*parts.values(), *lists.values()),
            lists=lists,
            notes=(
                f"Grades from {self.relevant} count as chosen, those below as shown and not chosen"
                f"{'; of these only training judgements are read' if given else ''}.",
            ),
        )

    def _judged(self, path: Path, *, chosen: bool) -> Iterator[tuple[list[str], list[str], list[int]]]:
        """Yield users, items and grades [N] of the judgements on one side of ``relevant``."""
        users: list[str] = []
        items: list[str] = []
        grades: list[int] = []
        for row, line in text_lines(path):
            words = line.split()
            if not words:
                continue
            if len(words) != 4:
                raise DataError(f"{path}, line {row}: {len(words)} words. Allowed: user 0 item grade.")
            grade = number(words[3], f"{path}, line {row}, grade")
            if (grade >= self.relevant) != chosen:
                continue
            users.append(words[0])
            items.append(words[2])
            grades.append(grade)
            if len(users) == BLOCK:
                yield users, items, grades
                users, items, grades = [], [], []
        if users:
            yield users, items, grades


def _known(source: Path) -> dict[str, tuple[str, ...]]:
    """Return the qrels of a folder by window."""
    there = sorted(path.name for path in source.glob("*qrel*")) if source.is_dir() else []
    found = {
        window: tuple(name for name in there if {*re.split("[^a-z]+", name.lower())} & {*words})
        for window, words in _WINDOWS.items()
    }
    if not any(found.values()) and len(there) == 1:
        found["train"] = (there[0],)
    for window, names in found.items():
        if len(names) > 1:
            raise DataError(
                f"{source}: {names[0]} and {names[1]} may both be {window}. Name one with --set {window}=FILE."
            )
    return {window: names or (f"qrels.{window}",) for window, names in found.items()}


def _list_name(name: str) -> str:
    """Return the name under which ``recall.FromFile`` knows a run for one."""
    return name if name.endswith((*_ENDINGS, ".txt")) else f"{name}.run"


def _check_run(path: Path) -> None:
    """Look every line of a run over.

    Raises:
        DataError: A line of another number of words, a rank or score that is no number, or an id in quotes.
    """
    for row, line in text_lines(path):
        words = line.split()
        if not words:
            continue
        if len(words) != 6:
            raise DataError(
                f"{path}, line {row}: {len(words)} words. Allowed: user Q0 item rank score tag, six words."
            )
        number(words[3], f"{path}, line {row}, rank")
        decimal(words[4], f"{path}, line {row}, score")
        if '"' in line:
            raise DataError(f'{path}, line {row}: holds a quotation mark. Allowed: ids and tags without ".')
