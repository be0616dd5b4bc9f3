"""Factors fitted by the library ``implicit``, on the CPU and the same for every number of threads.

References:
    Takács, Pilászy & Tikk 2011, doi:10.1145/2043932.2043987 (least squares by conjugate gradients).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stagelens.pipeline.core import Float32
from stagelens.pipeline.errors import ConfigError, require
from stagelens.pipeline.native import threads
from stagelens.pipeline.seeds import derive


def als_factors(
    confidence: Any, *, factors: int, regularisation: float, iterations: int, seed: int
) -> tuple[Float32, Float32]:
    """Return user and item factors by alternating least squares, float32 [U, D] and [I, D].

    Every iteration improves the users, then the items, each by three conjugate gradient steps from where it
    stood.

    Args:
        confidence: CSR [U, I]; of each pair that was had, all others have 1.
        factors: D.
        regularisation: Weight of the squared lengths.
        iterations: Passes.
        seed: Of the start.

    Raises:
        ConfigError: The factors are not finite.
        MissingExtra: ``implicit`` is not installed.
    """
    als = require("implicit.cpu.als", "references").AlternatingLeastSquares
    options = {"regularization": regularisation, "iterations": iterations, "num_threads": threads()}
    return _fitted(als, confidence, factors=factors, random_state=derive(seed, "als"), **options)


def bpr_factors(
    had: Any, *, factors: int, regularisation: float, learning_rate: float, iterations: int, seed: int
) -> tuple[Float32, Float32]:
    """Return user and item factors by Bayesian personalised ranking, float32 [U, D + 1] and [I, D + 1].

    The last column is the item's bias; a user has 1 there. One thread: several would write over one another's
    steps, and no two fits would be the same.

    Args:
        had: CSR [U, I]; its values are not read.
        factors: D.
        regularisation: Weight of the squared factors.
        learning_rate: Step size.
        iterations: Passes, each of as many draws as there are pairs.
        seed: Of the start and the draws.

    Raises:
        ConfigError: The factors are not finite.
        MissingExtra: ``implicit`` is not installed.
    """
    bpr = require("implicit.cpu.bpr", "references").BayesianPersonalizedRanking
    options = {"regularization": regularisation, "iterations": iterations, "num_threads": 1}
    random_state = derive(seed, "bpr")
    return _fitted(
        bpr, had, factors=factors, learning_rate=learning_rate, random_state=random_state, **options
    )


def _fitted(model_class: Any, matrix: Any, **options: Any) -> tuple[Float32, Float32]:
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    fit_error = require("implicit.recommender_base", "references").ModelFitError
    # A BLAS with threads of its own inside those of implicit takes ten times as long, and moves last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        model = model_class(**options)
        try:
            model.fit(csr_matrix(matrix), show_progress=False)
            finite = bool(np.isfinite(model.item_factors).all() and np.isfinite(model.user_factors).all())
        except fit_error:
            finite = False
    if not finite:
        given = ", ".join(f"{name} = {value}" for name, value in options.items() if name != "random_state")
        raise ConfigError(
            f"{model_class.__name__} ({given}) ended with factors that are not finite; raise the regularisation "
            "or lower the learning rate"
        )
    return model.user_factors, model.item_factors
