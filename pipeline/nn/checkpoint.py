"""What an unfinished training leaves behind: one file, whole or absent, of tensors and plain numbers."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of one training.

    Attributes:
        path: Where it lies.
        key: Fingerprint of everything the training follows from; a file with another key is not gone on from.
    """

    path: Path
    key: str

    def read(self) -> dict[str, Any] | None:
        """Return the state; None where there is none, or it is damaged, or of another training."""
        if not (
            self.path.is_file() and zipfile.is_zipfile(self.path)
        ):  # torch has older formats too: not ours
            return None
        try:
            # weights_only: nothing but tensors, numbers, text, lists and dicts can be built
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
            return None
        return state if isinstance(state, dict) and state.get("key") == self.key else None

    def write(self, state: Mapping[str, Any]) -> None:
        """Put a state in the place of the one before, in one step.

        Raises:
            OSError: The disk refuses.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            with partial.open("wb") as handle:
                torch.save({**state, "key": self.key}, handle)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch tells a full disk as a RuntimeError
            partial.unlink(missing_ok=True)
            raise OSError(f"{self.path} could not be written: {error}. Is the disk full?") from error

    def remove(self) -> None:
        """Remove the file; the training is done."""
        self.path.unlink(missing_ok=True)
