"""The three errors of StageLens, each with its exit status, and the hint for a missing extra."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from types import ModuleType


class ConfigError(ValueError):
    """A wrong name, option or recipe (exit status 2)."""


class DataError(ValueError):
    """Data that does not fit the contract: names file, row or column, what was found, what is allowed (exit 3)."""


class MissingExtra(ImportError):
    """An optional library is needed and absent; the message holds the install line (exit status 4)."""


class StageLensWarning(UserWarning):
    """Something the reader of a result should know; never an error by itself."""


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name: the value, the nearest match, the full list."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown {kind} {name!r}.{guess} Known: {', '.join(names) if names else '(none)'}."


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: Import name, for instance ``"faiss"``.
        extra: The extra of this distribution that brings it, for instance ``"cpu"``.

    Raises:
        MissingExtra: The library is not installed; the message holds the install line.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            raise
        raise MissingExtra(
            f"{module} is needed here and not installed. Install it with: pip install 'stagelens[{extra}]'"
        ) from error
