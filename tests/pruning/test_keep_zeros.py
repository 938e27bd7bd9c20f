"""Zeros that the network brings: kept when that is asked for, said when not."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import cbs_opt
from cbs_opt.errors import InputError
from cbs_opt.network.data import Data
from cbs_opt.pruning.schedule import sparsities

WAYS = [
    {"curvature": "fisher"},
    {"curvature": "fisher", "method": "greedy-obs", "partition": "layer"},
    {"curvature": "gram", "allocation": "uniform"},
    {"curvature": "sequential", "allocation": "layer", "method": "admm"},
    {"curvature": "sequential", "method": "swap", "stages": 3, "schedule": "linear"},
    {"curvature": "gauss-newton", "stages": 3, "schedule": "linear"},  # the first asks for less than is there
]


@pytest.fixture
def sparse(digits_network: Any) -> Any:
    """The digits network with no zeros in some rows, most weights zero in others, and a row and a layer's end empty."""
    model = copy.deepcopy(digits_network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in (model.fc1, model.fc2, model.fc3):
            share = torch.linspace(0, 0.8, len(layer.weight))[:, None]
            layer.weight[torch.rand(layer.weight.shape, generator=generator) < share] = 0.0
        model.fc1.weight[3] = 0.0
    return model


def flat(model: Any) -> Any:
    return np.concatenate([layer.weight.detach().numpy().ravel() for layer in (model.fc1, model.fc2, model.fc3)])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_zeros_stay_and_count(sparse: Any, digits: Data, way: dict[str, Any]) -> None:
    given = flat(sparse) == 0
    found = cbs_opt.prune(sparse, digits, 0.7, keep_zeros=True, samples=200, damping=1e-2, bound=False, **way)
    assert not found.weights.mask[given].any()
    assert not flat(found.model)[given].any()
    if "allocation" in way:  # each row, or layer, loses its share whatever the others have lost already
        assert found.weights.pruned > 1904
    else:
        assert found.weights.pruned == 1904
    assert f"{given.sum():,} of the 2,720 weights were exactly zero before and stay zero" in found.notes
    assert all(stage.sparsity >= given.mean() for stage in found.stages)
    assert found.settings["keep_zeros"] is True


@pytest.mark.parametrize("method", ["swap", "admm", "sparsegpt", "wanda", "magnitude"])
def test_a_pattern_beside_the_zeros(sparse: Any, digits: Data, method: str) -> None:
    given = flat(sparse) == 0
    asked = {"pattern": "2:4", "curvature": "sequential", "method": method, "samples": 100, "damping": 1e-2}
    found = cbs_opt.prune(sparse, digits, keep_zeros=True, bound=False, **asked)
    zeros = ~found.weights.mask.reshape(-1, 4)
    assert (zeros.sum(axis=1) >= np.maximum(2, given.reshape(-1, 4).sum(axis=1))).all()
    assert not found.weights.mask[given].any()


def test_the_same_as_a_stage_before(digits_network: Any, digits: Data) -> None:
    """Pruning a pruned network further is the second of two stages, up to the float32 it was kept in."""
    asked = {"curvature": "fisher", "method": "magnitude", "samples": 1_000, "damping": 1e-2, "bound": False}
    everything = (digits.train_x[:1_000], digits.train_y[:1_000])  # the same samples whatever the draw
    first, last = sparsities(0.8, 2, "linear")
    begun = cbs_opt.prune(digits_network, everything, first, **asked)
    further = cbs_opt.prune(begun.model, everything, last, keep_zeros=True, **asked)
    at_once = cbs_opt.prune(digits_network, everything, last, stages=2, schedule="linear", **asked)
    assert np.array_equal(further.weights.mask, at_once.weights.mask)
    assert further.objective == pytest.approx(at_once.objective, rel=1e-4)


def test_zeros_that_may_go_are_said(sparse: Any, digits: Data, digits_network: Any) -> None:
    asked = {"curvature": "gram", "samples": 100, "bound": False}
    count = int((flat(sparse) == 0).sum())
    notes = cbs_opt.prune(sparse, digits, 0.5, **asked).notes
    assert (
        f"{count:,} of the 2,720 weights were exactly zero before; keep_zeros (--keep-zeros) keeps them zero" in notes
    )
    assert not any("zero before" in note for note in cbs_opt.prune(digits_network, digits, 0.5, **asked).notes)


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential"])
def test_at_the_sparsity_that_is_there_only_the_weights_are_tuned(sparse: Any, digits: Data, curvature: str) -> None:
    given = flat(sparse) == 0
    asked = {"curvature": curvature, "samples": 100, "keep_zeros": True, "bound": False}
    allocation = {} if curvature == "fisher" else {"allocation": "sensitivity"}
    found = cbs_opt.prune(sparse, digits, float(given.mean()), **asked, **allocation)
    assert np.array_equal(found.weights.mask, ~given)


def test_nothing_left_to_do_is_one_sentence(sparse: Any, digits: Data) -> None:
    asked = {"curvature": "sequential", "samples": 100, "keep_zeros": True}
    with pytest.raises(InputError, match=r"sparsity: is 0\.3, but 4.* % of the weights are zero already"):
        cbs_opt.prune(sparse, digits, 0.3, **asked)
    with pytest.raises(InputError, match="revive: takes back what was pruned"):
        cbs_opt.prune(sparse, digits, 0.7, revive=True, **asked)
    with torch.no_grad():
        for layer in (sparse.fc1, sparse.fc2, sparse.fc3):
            layer.weight.zero_()
    for goal in ({"sparsity": 1.0}, {"pattern": "2:4"}):
        with pytest.raises(InputError, match="every weight that is to be pruned is zero already"):
            cbs_opt.prune(sparse, digits, **goal, **asked)
