"""Similarity of sparse columns: the weights of their entries, and what their product is divided by.

One implementation for items (documents that users are the terms of) and for users (the other way round).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Float64
from stagelens.pipeline.space import Choice, Real, Space, Whole

if TYPE_CHECKING:
    from stagelens.recall.interaction.products import Divisor

Weighting = Literal["none", "tf-idf", "bm25"]
Similarity = Literal["cosine", "jaccard", "dice", "asymmetric", "tversky", "dot"]
Weighed = Literal["similarity", "everything"]

BM25_K1, BM25_B = 1.2, 0.75
"""Saturation and length normalisation of Robertson & Zaragoza 2009."""

SPACE: Space = {
    "neighbours": Whole(5, 1000, fewer_than="items"),
    "shrink": Real(0.0, 1000.0),
    "similarity": Choice(("cosine", "jaccard", "dice", "asymmetric", "tversky", "dot")),
    "weighting": Choice(("none", "tf-idf", "bm25")),
    "weighed": Choice(("similarity", "everything")),
    "alpha": Real(0.0, 2.0),
    "beta": Real(0.0, 2.0),
}
"""Ranges of McElfresh et al. 2022, arXiv 2206.11886; in its code everything is weighed."""


def rarity(owners: NDArray[np.integer[Any]], documents: int) -> Float64:
    """Return float64 [T]: the logarithm of how few of the ``documents`` own each term."""
    rare: Float64 = np.log((1.0 + documents) / (1.0 + owners))
    return rare


def entry_weights(value: Float64, length: Float64, rare: Float64, weighting: Weighting) -> Float32:
    """Return float32 [N], the weights of entries.

    Args:
        value: float64 [N], how often or how strongly.
        length: float64 [N], terms of the entry's document over the mean of all documents.
        rare: float64 [N], rarity of the entry's term.
        weighting: ``tf-idf`` or ``bm25``; ``none`` makes every entry 1.
    """
    if weighting == "none":
        return np.ones(len(value), np.float32)
    if weighting == "tf-idf":
        value = np.sqrt(value)
    else:
        value = value * (BM25_K1 + 1) / (value + BM25_K1 * (1 - BM25_B + BM25_B * length))
    return (value * rare).astype(np.float32)


def weighted(matrix: Any, weighting: Weighting) -> Any:
    """Weigh the entries of a float32 CSR [terms, documents] in place and return it."""
    if weighting == "none" or not matrix.nnz:
        return matrix
    terms, documents = matrix.shape
    degree = np.bincount(matrix.indices, minlength=documents)
    owners = np.diff(matrix.indptr)
    rare = rarity(owners, documents)[np.repeat(np.arange(terms), owners)]
    length = degree[matrix.indices] / degree[degree > 0].mean()
    matrix.data = entry_weights(matrix.data.astype(np.float64), length, rare, weighting)
    return matrix


def squared(matrix: Any) -> NDArray[Any]:
    """Return [R], the squared norm of every row of a CSR: its size where the entries are 1."""
    return np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()


def divisor(
    similarity: Similarity,
    left: NDArray[Any],
    right: NDArray[Any],
    *,
    shrink: float,
    alpha: float,
    beta: float,
) -> Divisor:
    """Return what makes the product of two columns their similarity.

    With a and b their squared norms and t their product: cosine t / (sqrt(a b) + shrink); asymmetric
    t / (a^alpha b^(1 - alpha) + shrink); tversky t / (t + alpha (a - t) + beta (b - t) + shrink), of which jaccard
    is alpha = beta = 1 and dice alpha = beta = 1/2; dot is t alone, without shrink. Of weighted columns t can
    exceed a or b; what is left of them then counts as 0.

    Args:
        similarity: Which.
        left: [R], squared norms of the rows' side.
        right: [C], squared norms of the columns' side.
        shrink: Added to what divides; similarities that rest on little count less.
        alpha: Of asymmetric and tversky.
        beta: Of tversky.

    References:
        Asymmetric: Aiolli 2013, doi:10.1145/2507157.2507189. Tversky 1977, doi:10.1037/0033-295X.84.4.327.
    """
    from stagelens.recall.interaction.products import Divisor

    if similarity == "dot":
        return Divisor.one(len(left), len(right))
    if similarity == "cosine":
        return Divisor(np.sqrt(left).astype(np.float32), np.sqrt(right).astype(np.float32), float(shrink))
    if similarity == "asymmetric":
        return Divisor(_power(left, alpha), _power(right, 1.0 - alpha), float(shrink))
    weights = {"jaccard": (1.0, 1.0), "dice": (0.5, 0.5)}.get(similarity, (float(alpha), float(beta)))
    return Divisor(left.astype(np.float32), right.astype(np.float32), float(shrink), True, *weights)


def _power(size: NDArray[Any], exponent: float) -> Float32:
    """Return float32 powers; 0 stays 0, so that nothing is divided by nothing."""
    base = np.where(size > 0, size, 1.0).astype(np.float64)
    return np.where(size > 0, base**exponent, 0.0).astype(np.float32)
