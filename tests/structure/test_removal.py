"""The losses of a trace are those of the best weights without the removed units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from channel_networks import made

from cbs_opt.collect import layer_grams
from cbs_opt.network.inputs import as_samples
from cbs_opt.network.targets import find_targets
from cbs_opt.structure.couple import coupling
from cbs_opt.structure.removal import Reader, Trace, columns_of, trace


def readers_of(name: str, which: int) -> tuple[list[tuple[Any, Any, Any]], int]:
    """(layer, S, columns) of everything that reads a set of a network."""
    model, x = made(name)
    targets = {target.tensor: target for target in find_targets(model)}
    inputs = as_samples(x).take(slice(1)).inputs(model)
    chosen = coupling(model, inputs, targets.values()).sets[which]
    read = [targets[part.tensor] for part in chosen.readers]
    layers = layer_grams(model, x, read, dampening_frac=0.01)
    felt = np.random.default_rng(1)
    found = [
        (layers[target.name], felt.random(target.outputs), columns_of(target, part))
        for target, part in zip(read, chosen.readers, strict=True)
    ]
    return found, chosen.units


def best(layer: Any, felt: Any, gone: Any) -> float:
    """f by an independent route: the best weights without these columns, row by row, from the normal equations."""
    kept = np.setdiff1d(np.arange(layer.w_bar.shape[1]), gone)
    H = layer.H[0]
    total = 0.0
    for weight, w in zip(felt, layer.w_bar, strict=True):
        new = np.zeros_like(w)
        new[kept] = np.linalg.lstsq(H[np.ix_(kept, kept)], (H @ w)[kept])[0]
        total += weight * 0.5 * (new - w) @ H @ (new - w)
    return total


@pytest.mark.parametrize(("name", "which"), [("residual", 0), ("flattened", 0), ("attention", 0), ("plain", 0)])
@pytest.mark.parametrize("given", [False, True])
def test_losses_are_joint_and_after_the_update(name: str, which: int, given: bool) -> None:
    parts, units = readers_of(name, which)
    order = np.random.default_rng(2).permutation(units) if given else None
    found = trace([Reader(*part) for part in parts], units, order)
    assert sorted(found.order.tolist()) == list(range(units))
    if order is not None:
        assert found.order.tolist() == order.tolist()
    for removed in range(units):
        gone = found.order[:removed]
        expected = sum(best(layer, felt, columns[gone].ravel()) for layer, felt, columns in parts)
        assert found.losses[removed] == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_each_unit_is_the_one_that_costs_least_next() -> None:
    parts, units = readers_of("residual", 0)
    found = trace([Reader(*part) for part in parts], units)
    for removed in range(units - 1):
        gone, left = found.order[:removed], found.order[removed:]
        each = [
            sum(best(layer, felt, columns[[*gone, unit]].ravel()) for layer, felt, columns in parts) for unit in left
        ]
        assert left[int(np.argmin(each))] == found.order[removed]


def test_those_that_are_kept() -> None:
    found = Trace(np.array([3, 0, 2, 1]), np.arange(4.0))
    assert found.kept(3).tolist() == [0, 1, 2]
    assert found.kept(1).tolist() == [1]
