"""The problems that are measured: a network's whole Fisher, and a synthetic factor of any size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks.timing import timed
from cbs_opt import FactorCurvature, PruningProblem
from cbs_opt.collect import gradient_factor
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.network.data import digits_data, load_data
from cbs_opt.network.load import load_network
from cbs_opt.network.samples import drawn
from cbs_opt.network.targets import find_targets

FILES = {"mlpnet": ("mlpnet_mnist.npz", "mnist.npz"), "resnet20": ("resnet20_cifar10.npz", "cifar10.npz")}
"""Weights and data by network."""


@dataclass(frozen=True, eq=False)
class Instance:
    """Weights and factor of a network, and what the collection of its gradients took."""

    name: str
    w_bar: Vector
    A: NDArray[Any]
    collection: dict[str, float]

    def problem(self, damping: float, sparsity: float) -> PruningProblem:
        """AᵀA + λI, at least this share of all weights pruned."""
        return PruningProblem(self.w_bar, FactorCurvature(self.A, damping), name=self.name).at_sparsity(sparsity)


def network_instance(
    name: str,
    data: Path | None,
    samples: int,
    seed: int,
    chosen: NDArray[np.int64] | None = None,
    ignore: str = "",
) -> Instance:
    """Per-sample gradients in float32 at the true labels of ``samples`` training images drawn with ``seed`` (as
    ``cbs-opt prune`` draws them), or of the ``chosen`` ones."""
    if name == "digits":
        network, samples_of = load_network(name), digits_data()
    else:
        assert data is not None, "the command asks for it"
        weights, images = FILES[name]
        network, samples_of = load_network(name, data / weights), load_data(data / images, name)
    x, y = samples_of.train_x, samples_of.train_y
    x, y = drawn(x, y, samples, seed)[:2] if chosen is None else (x[chosen], y[chosen])
    targets = find_targets(network, ignore=[ignore] if ignore else [])
    with timed() as collection:
        factor = gradient_factor(network, x, y, targets, precision="float32")
    w_bar = np.concatenate([network.get_parameter(t.tensor).detach().double().numpy().ravel() for t in targets])
    return Instance(name, w_bar, factor.A, collection)


def synthetic(n: int, m: int, seed: int) -> tuple[Vector, NDArray[np.float32]]:
    """w̄ (n,) and A/√m (m, n) in float32: normal entries, columns in units that spread over two orders of magnitude."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.standard_normal(n, dtype=np.float32)) / np.float32(np.sqrt(m))
    A = np.empty((m, n), dtype=np.float32)
    for row in A:
        rng.standard_normal(out=row, dtype=np.float32)
        row *= scale
    return rng.standard_normal(n), A


def synthetic_problem(n: int, m: int, seed: int, dampening_frac: float) -> PruningProblem:
    """That factor with λ as a share of its mean diagonal, without a pattern."""
    w_bar, A = synthetic(n, m, seed)
    curvature = FactorCurvature(A, dampening_frac * float(np.mean([np.square(row).mean() for row in A])) * len(A))
    return PruningProblem(w_bar, curvature, name="synthetic")
