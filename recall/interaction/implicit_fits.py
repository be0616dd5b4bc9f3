"""Factors of least squares fitted by the library ``implicit``, on the CPU and the same for every number of threads.

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
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    als = require("implicit.cpu.als", "references").AlternatingLeastSquares
    fit_error = require("implicit.recommender_base", "references").ModelFitError
    options = {"factors": factors, "regularization": regularisation, "iterations": iterations}
    # A BLAS with threads of its own inside those of implicit takes ten times as long, and moves last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        model = als(**options, random_state=derive(seed, "als"), num_threads=threads())
        try:
            model.fit(csr_matrix(confidence), show_progress=False)
            finite = bool(np.isfinite(model.item_factors).all() and np.isfinite(model.user_factors).all())
        except fit_error:
            finite = False
    if not finite:
        given = ", ".join(f"{name} = {value}" for name, value in options.items())
        raise ConfigError(f"iALS ({given}) ended with factors that are not finite; raise the regularisation")
    return model.user_factors, model.item_factors
