"""Bounds of layers hold for the inputs that the network computed, in fractions, whatever was rounded to add them up.

The least loss of every layer is found here by trying all masks in rational arithmetic, on the inputs as the network
gives them to the layer (caught by hooks) and on the weights and the λ that the result names.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from rational import solved
from torch import nn
from torch.nn.functional import unfold

import cbs_opt
from cbs_opt.network.samples import draw

Rational = list[Fraction]


def least_by_kept(X: list[Rational], goal: Rational, w: Rational, damping: Fraction) -> Rational:
    """For k = 0 … n the least ½·mean(Xw' − goal)² + λ/2‖w' − w‖² of any w' that keeps k weights."""
    m, n = len(X), len(w)
    H = [
        [sum((x[i] * x[j] for x in X), Fraction(0)) / m + (damping if i == j else 0) for j in range(n)]
        for i in range(n)
    ]
    b = [sum((x[i] * y for x, y in zip(X, goal, strict=True)), Fraction(0)) / m + damping * w[i] for i in range(n)]
    whole = sum((y * y for y in goal), Fraction(0)) / (2 * m) + damping / 2 * sum((v * v for v in w), Fraction(0))
    found = []
    for k in range(n + 1):
        gains = []
        for kept in itertools.combinations(range(n), k):
            best = solved([[H[i][j] for j in kept] for i in kept], [b[i] for i in kept])
            gains.append(sum((s * b[i] for s, i in zip(best, kept, strict=True)), Fraction(0)) / 2)
        found.append(whole - max(gains))
    return found


def least_of_rows(rows: Any, kept: int) -> Fraction:
    """The least Σ_r rows[r][k_r] with Σ k_r = ``kept``, trying out how many weights each row keeps."""
    best = {0: Fraction(0)}
    for row in rows:
        sums = [(before + k, total + value) for before, total in best.items() for k, value in enumerate(row)]
        best = {kept: min(total for k, total in sums if k == kept) for kept in {k for k, _ in sums}}
    return best[kept]


def fractions(matrix: Any) -> list[Rational]:
    return [[Fraction(float(v)) for v in row] for row in matrix]


def caught(network: nn.Module, layers: list[nn.Module], x: torch.Tensor) -> list[torch.Tensor]:
    """The input of each layer, from one pass."""
    found: dict[int, torch.Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, at=at: found.__setitem__(at, args[0].detach().clone()))
        for at, layer in enumerate(layers)
    ]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return [found[at] for at in range(len(layers))]


def columns(layer: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """The layer's inputs, one a row, (positions, in), of each group."""
    if isinstance(layer, nn.Linear):
        return [x.double()]
    parts = x.double().chunk(layer.groups, dim=1)
    flat = [unfold(part, layer.kernel_size, padding=layer.padding) for part in parts]
    return [part.transpose(1, 2).reshape(-1, part.shape[1]) for part in flat]


def rows_of(layer: Any, pruned: torch.Tensor, dense: torch.Tensor, damping: float) -> list[Rational]:
    """``least_by_kept`` of each row of a layer, the goal being the dense layer's outputs on ``dense``."""
    matrix = layer.weight.detach().double().reshape(layer.weight.shape[0], -1)
    found = []
    for X, Y, weights in zip(
        columns(layer, pruned), columns(layer, dense), matrix.chunk(getattr(layer, "groups", 1)), strict=True
    ):
        inputs, others = fractions(X), fractions(Y)
        for w in fractions(weights):
            goal = [sum((v * s for v, s in zip(row, w, strict=True)), Fraction(0)) for row in others]
            found.append(least_by_kept(inputs, goal, w, Fraction(damping)))
    return found


def network_of(seed: int, rng: np.random.Generator) -> tuple[nn.Module, list[Any], tuple[int, ...]]:
    """A small network, its layers, and the shape of a sample."""
    torch.manual_seed(seed)
    if seed % 3 == 0:
        a, b = int(rng.integers(3, 6)), int(rng.integers(3, 6))
        network = nn.Sequential(nn.Linear(a, b, bias=False), nn.ReLU(), nn.Linear(b, 2, bias=False))
        shape: tuple[int, ...] = (a,)
    elif seed % 3 == 1:
        convolutions = nn.Conv2d(1, 2, 2, bias=False), nn.Conv2d(2, 2, 2, groups=2, bias=False)
        network = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(2, 4))
        shape = (1, 3, 3)
    else:
        network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
        shape = (1, 2, 2)
    layers = [module for module in network if isinstance(module, (nn.Linear, nn.Conv2d))]
    with torch.no_grad():
        layers[-1].weight.mul_(10.0 ** int(rng.integers(-4, 3)))
    return network, layers, shape


@pytest.mark.parametrize("curvature", ["gram", "sequential"])
@pytest.mark.parametrize("seed", range(15))
def test_no_mask_is_below_a_bound(seed: int, curvature: str) -> None:
    rng = np.random.default_rng(seed)
    network, layers, shape = network_of(seed, rng)
    m = int(rng.integers(4, 9))
    x = (rng.normal(size=(m, *shape)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    λ = {"dampening_frac": float(10.0 ** -rng.integers(1, 9))}
    pruned = cbs_opt.prune(network, x, 0.5, curvature=curvature, allocation="uniform", **λ)
    judged = {layer.name: layer for layer in cbs_opt.certify_layers(network, pruned, x, **λ)}
    drawn = torch.from_numpy(x[draw(m, m, 0)])  # the order in which the samples are run
    dense = caught(network, layers, drawn)
    after = [pruned.model[at] for at, module in enumerate(network) if module in layers]
    now = caught(pruned.model, after, drawn) if curvature == "sequential" else dense
    for layer, report, X̂, X in zip(layers, pruned.layers, now, dense, strict=True):
        lost = report.pruned // len(layer.weight)  # the same number in each row
        least = sum(row[-1 - lost] for row in rows_of(layer, X̂, X, pruned.stages[0].damping[report.name]))
        assert report.bound <= least, report.name
        assert report.bound >= 0.5 * float(least), report.name
        # Every mask with as many zeros in the layer (of a grouped convolution, in each group).
        other, least = judged[report.name], Fraction(0)
        groups = getattr(layer, "groups", 1)
        rows = np.split(np.array(rows_of(layer, X, X, other.damping)), groups)
        for part, weights in zip(rows, pruned.model.get_parameter(f"{report.name}.weight").chunk(groups), strict=True):
            least += least_of_rows(part, int((weights != 0).sum()))
        assert other.bound <= least, report.name
        assert other.bound >= 0.1 * float(least), report.name


@pytest.mark.parametrize("curvature", ["gram", "sequential"])
def test_a_damping_below_round_off_gives_no_bound_and_says_so(curvature: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 3), nn.Linear(3, 4))
    x = np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32)  # 20 samples do not determine 40 weights
    asked: dict[str, Any] = {"curvature": curvature, "allocation": "uniform", "method": "magnitude"}
    pruned = cbs_opt.prune(network, x, 0.5, damping=2e-13, **asked)
    assert np.isneginf(pruned.layers[0].bound)
    assert any("0.weight: has no bound, since λ = 2e-13 is below" in note for note in pruned.notes)
    assert cbs_opt.prune(network, x, 0.5, damping=1e-9, **asked).layers[0].bound > 0
