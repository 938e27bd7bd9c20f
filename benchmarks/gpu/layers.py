"""A layer made with a spectrum that is known: for sizes of which no measured layer is at hand."""

from __future__ import annotations

import numpy as np

from benchmarks.layers.command import LAMBDA
from cbs_opt import DenseCurvature, PruningProblem, RowsCurvature

DECAY = 1.2
"""The i-th eigenvalue of the made layer's curvature is i^−DECAY, much as layers of language models have them."""


def made_layer(size: int, seed: int = 0) -> PruningProblem:
    """Normal weights (size, size) on H = Q diag(i^−DECAY) Qᵀ + λI, Q random, λ as for layers from files."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    H = (Q * np.arange(1.0, size + 1) ** -DECAY) @ Q.T
    H = (H + H.T) / 2
    curvature = DenseCurvature(H, LAMBDA * float(H.diagonal().mean()))
    weights = rng.standard_normal(size * size)
    return PruningProblem(weights, RowsCurvature(curvature, size), name=f"made {size} × {size}")
