"""Generated blocks: four kinds of curvature at every size, damping and sparsity, the same ones for a seed.

    gram         H = XᵀX/m + λI    mixed inputs, some of them often zero (as after a ReLU), m = 4n samples
    fisher       H = GᵀG/m + λI    per-sample gradients r·x with a heavy-tailed residual r, m = n/2 samples
    correlated   H = XᵀX/m + λI    neighbouring inputs with correlation 0.9, m = 4n samples
    duplicates   H = XᵀX/m + λI    every other input a copy of its neighbour but for noise of 1 %, m = 4n samples

λ is the damping times the mean diagonal of the undamped matrix. Weights are normal, as trained ones nearly are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cbs_opt import PruningProblem
from cbs_opt.kernel.arrays.types import Matrix, Vector

SIZES = (32, 48, 64, 96, 128)
DAMPINGS = (1e-2, 1e-3, 1e-4, 1e-6)
SPARSITIES = (0.5, 0.8, 0.9)


@dataclass(frozen=True)
class Instance:
    """One solve to be measured.

    Parameters
    ----------
    name : str
        Says everything needed to make it again.
    family : str
        A name from ``FAMILIES``, or 'file'.
    problem : PruningProblem
        With its pattern.
    optimum : float or None
        A value known to be optimal to 1e-4, where a block file carries one.
    """

    name: str
    family: str
    problem: PruningProblem
    optimum: float | None = None


def gram(rng: np.random.Generator, n: int) -> Matrix:
    """Layer inputs, shape (4n, n)."""
    X = rng.normal(size=(4 * n, n)) @ (np.eye(n) + rng.normal(size=(n, n)) / np.sqrt(n))
    return np.where(rng.random(n) < 0.5, np.maximum(X, 0.0), X)


def fisher(rng: np.random.Generator, n: int) -> Matrix:
    """Per-sample gradients, shape (n/2, n)."""
    m = max(2, n // 2)
    return np.asarray(gram(rng, n)[:m] * rng.standard_t(3, size=(m, 1)))


def correlated(rng: np.random.Generator, n: int) -> Matrix:
    """Inputs of an autoregressive series, shape (4n, n)."""
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return np.asarray(rng.normal(size=(4 * n, n)) @ np.linalg.cholesky(0.9**distance).T)


def duplicates(rng: np.random.Generator, n: int) -> Matrix:
    """Inputs in nearly equal pairs, shape (4n, n)."""
    X = gram(rng, n)
    X[:, 1::2] = X[:, 0 : n - 1 : 2] + 0.01 * rng.normal(size=X[:, 1::2].shape)
    return X


FAMILIES: dict[str, Callable[[np.random.Generator, int], Matrix]] = {
    "gram": gram,
    "fisher": fisher,
    "correlated": correlated,
    "duplicates": duplicates,
}


def instances(
    families: Sequence[str],
    sizes: Sequence[int],
    dampings: Sequence[float],
    sparsities: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[Instance]:
    """The grid, small blocks first."""
    for n in sizes:
        for family in families:
            for seed in seeds:
                rng = np.random.default_rng([seed, n, list(FAMILIES).index(family)])
                rows = FAMILIES[family](rng, n)
                w: Vector = rng.normal(size=n)
                for damping in dampings:
                    name = f"{family} n={n} damping={damping:g} seed={seed}"
                    block = PruningProblem(w, _curvature(rows, damping), name=name)
                    for sparsity in sparsities:
                        yield Instance(f"{name} sparsity={sparsity:g}", family, block.at_sparsity(sparsity))


def _curvature(rows: Matrix, damping: float) -> Matrix:
    H = rows.T @ rows / len(rows)
    return np.asarray((H + H.T) / 2 + damping * float(H.diagonal().mean()) * np.eye(len(H)))
