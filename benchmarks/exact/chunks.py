"""Chunks of MLPNet's empirical Fisher, drawn anew for a seed: blocks as users meet them, m = 1000 samples.

A chunk is n consecutive weights of fc2 or fc3, or of one row of fc1, those without any gradient left out.
H = GᵀG/m + λI with G the per-sample gradients of the cross-entropy; λ is the damping itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.exact.families import Instance
from cbs_opt import PruningProblem
from cbs_opt.kernel.arrays.types import Matrix

MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's pixels, as the network was trained."""
SAMPLES = 1000


def chunks(data: Path, n: int, damping: float, sparsity: float, seed: int) -> Iterator[Instance]:
    """A chunk of each layer; ``data`` has mnist.npz and mlpnet_mnist.npz."""
    rng = np.random.default_rng([seed, n])
    for layer, (d, h, W) in _layers(data, rng).items():
        if layer == "fc1":  # one row of it: the whole is 31,360 wide
            row = int(rng.integers(len(W)))
            d, W = d[:, [row]], W[[row]]
        G, w = (d[:, :, None] * h[:, None, :]).reshape(SAMPLES, -1), W.ravel()
        used = np.flatnonzero((G != 0.0).any(axis=0))
        first = int(rng.integers(len(used) - n + 1))
        columns = used[first : first + n]
        block = PruningProblem.from_gradients(w[columns], np.ascontiguousarray(G[:, columns]), damping=damping)
        name = f"{layer} n={n} damping={damping:g} seed={seed} sparsity={sparsity:g}"
        yield Instance(name, layer, block.at_sparsity(sparsity))


def _layers(data: Path, rng: np.random.Generator) -> dict[str, tuple[Matrix, Matrix, Matrix]]:
    """Of each layer: the gradients at its outputs, its inputs (both one sample a row), its weights."""
    with np.load(data / "mnist.npz") as images, np.load(data / "mlpnet_mnist.npz") as network:
        drawn = rng.choice(len(images["train_y"]), SAMPLES, replace=False)
        x = (images["train_x"][drawn].reshape(SAMPLES, -1) / 255.0 - MEAN) / DEVIATION
        labels = images["train_y"][drawn]
        W1, W2, W3 = (network[f"fc{k}.weight"].astype(np.float64) for k in (1, 2, 3))
    h1 = np.maximum(x @ W1.T, 0.0)
    h2 = np.maximum(h1 @ W2.T, 0.0)
    logits = h2 @ W3.T
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    d3 = p / p.sum(axis=1, keepdims=True) - np.eye(len(W3))[labels]
    d2 = (d3 @ W3) * (h2 > 0)
    d1 = (d2 @ W2) * (h1 > 0)
    return {"fc1": (d1, x, W1), "fc2": (d2, h1, W2), "fc3": (d3, h2, W3)}
