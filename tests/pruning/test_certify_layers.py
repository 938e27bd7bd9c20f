"""Layers that another tool has pruned: in whatever form they come, and against the masks of a pattern."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import cbs_opt
from cbs_opt.errors import InputError, PatternError
from cbs_opt.network.data import Data
from cbs_opt.pruning.certify_network import load_masks

LAYERS = ("fc1", "fc2", "fc3")
M = 60


def with_masks(network: Any) -> Any:
    """A copy of the digits network with masks of torch.nn.utils.prune, by magnitude, that are still attached."""
    other = copy.deepcopy(network)
    layers = [(getattr(other, name), "weight") for name in LAYERS]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.7)
    return other


@pytest.fixture
def attached(digits_network: Any) -> Any:
    return with_masks(digits_network)


@pytest.fixture
def permanent(digits_network: Any) -> Any:
    other = with_masks(digits_network)
    for name in LAYERS:
        torch_prune.remove(getattr(other, name), "weight")
    return other


def test_every_form_of_one_answer_is_judged_alike(
    digits_network: Any, digits: Data, attached: Any, permanent: Any
) -> None:
    masks = {f"{name}.weight": getattr(permanent, name).weight.detach() != 0 for name in LAYERS}
    forms = {
        "permanent": permanent,
        "attached": attached,
        "checkpoint": permanent.state_dict(),
        "checkpoint with masks": attached.state_dict(),
        "masks": masks,
        "masks by layer, as arrays": {name: masks[f"{name}.weight"].numpy() for name in LAYERS},
    }
    found = {
        form: cbs_opt.certify_layers(digits_network, given, digits, samples=M, bound_time=0)
        for form, given in forms.items()
    }
    facts = {form: [(row.name, row.pruned, row.given, row.objective) for row in rows] for form, rows in found.items()}
    zeros = [(name, int((getattr(permanent, name).weight == 0).sum())) for name in LAYERS]
    for form, rows in facts.items():
        assert [row[:2] for row in rows] == zeros, form
        assert rows == facts["permanent"], form


def test_what_prune_returned_is_judged_as_its_network(digits_network: Any, digits: Data) -> None:
    pruned = cbs_opt.prune(digits_network, digits, 0.5, curvature="gram", samples=M, bound=False, method="magnitude")
    whole, model = (
        cbs_opt.certify_layers(digits_network, given, digits, samples=M, bound_time=0)
        for given in (pruned, pruned.model)
    )
    assert [row.given for row in whole] == [row.given for row in model]
    assert {row.name: row.given for row in whole} == pytest.approx(
        {row.name: row.objective for row in pruned.layers}, rel=1e-5
    )


def test_masks_of_some_layers_leave_the_others_out(digits_network: Any, digits: Data, permanent: Any) -> None:
    mask = {"fc2": permanent.fc2.weight.detach() != 0}
    (judged,) = cbs_opt.certify_layers(digits_network, mask, digits, samples=M, bound_time=0)
    assert judged.name == "fc2"


@pytest.mark.parametrize("asked", [{"ignore": ["fc1", "fc3"]}, {"targets": ["fc2"]}], ids=["ignore", "targets"])
def test_masks_of_layers_that_are_left_out_may_be_there(
    digits_network: Any, digits: Data, permanent: Any, asked: dict[str, list[str]]
) -> None:
    masks = {name: getattr(permanent, name).weight.detach() != 0 for name in LAYERS}
    (judged,) = cbs_opt.certify_layers(digits_network, masks, digits, samples=M, bound_time=0, **asked)
    (alone,) = cbs_opt.certify_layers(digits_network, {"fc2": masks["fc2"]}, digits, samples=M, bound_time=0)
    assert (judged.name, judged.pruned, judged.given) == ("fc2", alone.pruned, alone.given)


def test_masks_read_from_a_masked_checkpoint_may_be_of_buffers_and_tied_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)).eval()
    dense[3].weight = dense[2].weight  # no target, and a second name of one parameter
    other = copy.deepcopy(dense)
    torch_prune.l1_unstructured(other[0], "weight", amount=5)
    torch.save(other.state_dict(), tmp_path / "masked.pt")
    masks = {name: mask.astype(bool) for name, mask in load_masks(tmp_path / "masked.pt").items()}
    assert {"1.running_mean", "3.weight"} <= set(masks)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    (judged,) = cbs_opt.certify_layers(dense, masks, x)
    assert (judged.name, judged.pruned) == ("0", 5)


# ---------------------------------------------------------------- a pattern


def losses_of_2_to_4(network: Any, x: Any, damping: float) -> float:
    """The least loss of any 2:4 mask of a linear layer of four inputs, by trying all of them."""
    w, total = network[0].weight.detach().double().numpy(), 0.0
    x = x.astype(np.float64)
    H = x.T @ x / len(x) + damping * np.eye(4)
    for row in w:
        found = []
        for kept in map(list, itertools.combinations(range(4), 2)):
            best = np.zeros(4)
            best[kept] = np.linalg.solve(H[np.ix_(kept, kept)], (H @ row)[kept])
            found.append(0.5 * (best - row) @ H @ (best - row))
        total += min(found)
    return total


@pytest.mark.parametrize("seed", range(10))
def test_with_a_pattern_the_bound_is_about_its_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Identity())
    x = (rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))).astype(np.float32)
    pruned = cbs_opt.prune(network, x, pattern="2:4", curvature="gram", method="magnitude", bound=False)
    (wide,) = cbs_opt.certify_layers(network, pruned, x)
    (close,) = cbs_opt.certify_layers(network, pruned, x, pattern="2:4")
    least = losses_of_2_to_4(network, x, close.damping)
    assert wide.bound <= close.bound <= least
    assert close.bound >= 0.5 * least  # a bound worth its name
    assert close.objective >= least * (1 - 1e-6)
    assert close.mask_gap == pytest.approx(1 - close.bound / close.objective, abs=1e-9)
    assert (close.given, close.objective) == (wide.given, wide.objective)


def test_a_pattern_runs_along_the_channels_of_each_group(conv_network: Any) -> None:
    network, x, _ = conv_network
    pruned = cbs_opt.prune(network, x, pattern="1:2", ignore=["0"], bound=False)
    grouped, linear = cbs_opt.certify_layers(network, pruned, x, pattern="1:2", ignore=["0"])
    assert (grouped.name, grouped.pruned, linear.name, linear.pruned) == ("3", 36, "7", 6)
    for layer in (grouped, linear):
        assert 0 <= layer.bound <= layer.objective
    with pytest.raises(PatternError, match=r"1:2: 2 has to divide .* layer 0 has 1; .*ignore=\['0'\]"):
        cbs_opt.certify_layers(network, {"0": torch.zeros(4, 1, 3, 3, dtype=torch.bool)}, x, pattern="1:2")
    across = torch.ones(4, 2, 3, 3, dtype=torch.bool)
    across[:, :, :2] = False  # as many zeros, both channels of a position at once
    with pytest.raises(PatternError, match=r"layer 3: its mask is not of the pattern 1:2"):
        cbs_opt.certify_layers(network, {"3": across}, x, pattern="1:2")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, r"pruned: give the pruned network, its checkpoint .*, or masks"),
        ({}, r"pruned: give the pruned network"),
        ({"fc9": torch.ones(3, dtype=torch.bool)}, r"the masks: fc9 is no layer of the network; .* fc1, fc2, fc3"),
        ({"fc1": torch.ones(3, dtype=torch.bool)}, r"the masks: fc1\.weight has shape \(3,\) instead of \(32, 64\)"),
        ({"fc1.weight": torch.full((32, 64), 0.5)}, r"the checkpoint: fc2\.weight is missing; it holds fc1\.weight"),
        (
            {"state_dict": {"fc1.weight": torch.ones(32, 64)}},
            r"state_dict is no tensor but dict; .* the part that holds",
        ),
        (
            {name: torch.ones(32, 64, dtype=torch.bool) for name in ("fc1", "fc1.weight")},
            r"the masks: fc1 and fc1\.weight are masks of one layer; leave one out",
        ),
        ({"fc1": torch.ones(32, 64, dtype=torch.bool)}, r"has no zeros in the layers"),
    ],
    ids=["number", "nothing", "other layer", "shape", "part", "whole file", "two of one", "no zeros"],
)
def test_what_is_no_answer_is_said_in_one_sentence(digits_network: Any, digits: Data, given: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        cbs_opt.certify_layers(digits_network, given, digits, samples=M)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_masks_that_are_not_boolean_are_not_taken_for_weights(
    digits_network: Any, digits: Data, attached: Any, dtype: Any
) -> None:
    masks = {f"{name}.weight": getattr(attached, name).weight_mask.to(dtype) for name in LAYERS}
    with pytest.raises(InputError, match=r"nothing but zeros and ones, but they are not boolean; .* mask\.bool\(\)"):
        cbs_opt.certify_layers(digits_network, masks, digits, samples=M)


def test_weights_that_are_not_finite_are_refused(digits_network: Any, digits: Data, permanent: Any) -> None:
    state = permanent.state_dict()
    state["fc2.weight"][0, 0] = torch.nan
    with pytest.raises(InputError, match=r"the checkpoint: fc2\.weight holds NaN or infinity"):
        cbs_opt.certify_layers(digits_network, state, digits, samples=M)


def test_other_patterns_are_no_pattern_of_a_layer(digits_network: Any, digits: Data, permanent: Any) -> None:
    with pytest.raises(InputError, match="N:M"):
        cbs_opt.certify_layers(digits_network, permanent, digits, samples=M, pattern="columns 0.5")


def test_what_else_was_changed_is_said(
    digits_network: Any, digits: Data, permanent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    judge = cbs_opt.certify_layers
    judge(digits_network, permanent, digits, samples=M, bound_time=0)
    assert "that is not judged" not in caplog.text
    with torch.no_grad():
        permanent.fc1.bias[0] += 1.0
    for given in (permanent, permanent.state_dict()):
        caplog.clear()
        judge(digits_network, given, digits, samples=M, bound_time=0)
        assert "1 tensor beside the layers that are judged differ" in caplog.text
        assert "(fc1.bias); that is not judged" in caplog.text


def test_names_of_torch_masks_are_understood(digits_network: Any, digits: Data, permanent: Any) -> None:
    mask = permanent.fc2.weight.detach() != 0
    one, other = (
        cbs_opt.certify_layers(digits_network, {name: mask}, digits, samples=M, bound_time=0)
        for name in ("fc2.weight", "fc2.weight_mask")
    )
    assert (one[0].name, one[0].given) == (other[0].name, other[0].given)


def test_quantized_weights_are_refused(digits_network: Any, digits: Data, permanent: Any) -> None:
    state = permanent.state_dict() | {"fc2.weight": torch.full((16, 32), 3, dtype=torch.int8)}
    with pytest.raises(InputError, match=r"the checkpoint: fc2\.weight is int8; weights are judged as floating-point"):
        cbs_opt.certify_layers(digits_network, state, digits, samples=M)
