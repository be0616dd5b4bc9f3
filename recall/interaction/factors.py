"""Item factors that histories are folded into: what the factorisations share."""

from __future__ import annotations

from dataclasses import dataclass

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Bool, Float32


@dataclass(frozen=True, slots=True, eq=False)
class ItemFactors:
    """The items' side of a factorisation, compared by the dot product.

    Attributes:
        item: float32 [I, D]; zero rows where ``present`` is False.
        present: bool [I]; False for items without interactions in the fit window.
    """

    item: Float32
    present: Bool

    @property
    def similarity(self) -> str:
        """What compares a query with an item."""
        return "dot"

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        return int(self.present.sum()) * int(self.item.shape[1])

    def save(self) -> Saved:
        """Return arrays."""
        return Saved({"item": self.item, "present": self.present})
