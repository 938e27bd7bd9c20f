"""Whole networks shrunk: within the budget, the masked network's outputs, re-tuned, saved and built again."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_llama
import torch
from channel_networks import NETWORKS, made
from torch import nn

import cbs_opt
from cbs_opt.collect import layer_grams
from cbs_opt.errors import InputError, PatternError, UnknownMethodError
from cbs_opt.kernel.stacks import update_columns
from cbs_opt.network.samples import drawn
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning.stage import Clock
from cbs_opt.structure.couple import coupling
from cbs_opt.structure.curves import Curves


@pytest.mark.parametrize("what", ["flops", "parameters"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_coupling(name: str, what: str, tmp_path: Path) -> None:
    model, x = made(name)
    before = copy.deepcopy(model.state_dict())
    found = cbs_opt.shrink(model, x, **{what: 0.8})
    for tensor, value in model.state_dict().items():
        assert torch.equal(value, before[tensor])
    cost = {"flops": found.flops / found.flops_dense, "parameters": found.parameters / found.parameters_dense}
    assert 0.3 < cost[what] <= 0.8
    assert sum(p.numel() for p in found.model.parameters()) == found.parameters
    assert sum(p.numel() for p in model.parameters()) == found.parameters_dense
    with torch.no_grad():
        small, masked = found.model(torch.from_numpy(x)), found.masked(torch.from_numpy(x))
    torch.testing.assert_close(small, masked, rtol=1e-5, atol=1e-5)
    assert found.difference <= 1e-5
    assert found.bound <= found.loss == sum(part.loss for part in found.sets)
    for tensor, mask in found.masks().items():
        assert not found.masked.get_parameter(tensor)[torch.from_numpy(~mask)].any()
        assert not mask.all()
    json.dumps(found.to_dict())
    found.save(tmp_path / "small")
    again = cbs_opt.load_shrunk(made(name, seed=9)[0], tmp_path / "small")
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"model.safetensors", "structure.json"}
    with torch.no_grad():
        assert torch.equal(again(torch.from_numpy(x)), small)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_language_model_loses_neurons_and_heads(implementation: str) -> None:
    torch.manual_seed(0)
    model = tiny_llama.made(20, attn_implementation=implementation).eval()
    tokens = {"input_ids": np.random.default_rng(0).integers(0, 20, (8, 12))}
    found = cbs_opt.shrink(model, tokens, parameters=0.7)
    kept = {part.name: (len(part.kept), part.units) for part in found.sets}
    assert {units for _, units in kept.values()} == {2, 24}
    assert sum(p.numel() for p in found.model.parameters()) == found.parameters <= 0.7 * found.parameters_dense
    heads = len(next(part.kept for part in found.sets if part.name == "model.layers.0.self_attn.q_proj"))
    assert found.model.model.layers[0].self_attn.k_proj.out_features == 4 * heads


def test_torchs_transformer_loses_neurons() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    found = cbs_opt.shrink(model, np.random.default_rng(0).normal(size=(9, 5, 8)).astype(np.float32), parameters=0.8)
    assert [part.name for part in found.sets] == ["linear1"]
    assert type(found.model.self_attn) is nn.MultiheadAttention


def test_copies_of_a_neuron_go_without_loss() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 8), nn.Linear(8, 3)
    with torch.no_grad():
        first.weight[4:] = first.weight[:4]
        first.bias[4:] = first.bias[:4]
    model, x = nn.Sequential(first, nn.ReLU(), second).eval(), torch.randn(100, 6)
    found = cbs_opt.shrink(model, x, parameters=0.6, dampening_frac=1e-9)
    (part,) = found.sets
    assert sorted(unit % 4 for unit in part.kept) == [0, 1, 2, 3]
    assert part.loss < 1e-8
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-4, atol=1e-4)


def test_joint_selection_is_no_worse_than_magnitude_and_curves_than_uniform() -> None:
    """On what they minimize; the digits network has clear differences."""
    from cbs_opt.network.data import digits_data
    from cbs_opt.network.load import load_network

    network, data = load_network("digits"), digits_data()
    found = {
        (selection, allocation): cbs_opt.shrink(
            network, data, flops=0.5, selection=selection, allocation=allocation, samples=300
        )
        for selection in ("joint", "magnitude")
        for allocation in ("curves", "uniform")
    }
    for one in found.values():
        assert one.flops <= 0.5 * one.flops_dense
    assert found["joint", "curves"].loss < found["magnitude", "curves"].loss
    assert found["joint", "curves"].loss <= found["joint", "uniform"].loss
    assert found["magnitude", "curves"].loss <= found["magnitude", "uniform"].loss
    assert found["joint", "uniform"].bound == -np.inf


def test_uniform_shares_use_the_budget() -> None:
    """3 · 8 + 8 · 16 + 16 · 2 products in all; half of each set is 3 · 4 + 4 · 8 + 8 · 2 = 60."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)

    def kept(products: float) -> list[int]:
        found = cbs_opt.shrink(model, x, flops=products / 184, allocation="uniform")
        return [len(part.kept) for part in found.sets]

    assert kept(60) == [4, 8]
    assert kept(66) == [4, 9]  # 12 + 36 + 18; 5 of 8 are 10 of 16, which cost 85
    assert kept(71) == [4, 9]
    assert kept(78) == [5, 9]  # 15 + 45 + 18
    assert kept(85) == [5, 10]


@pytest.mark.parametrize("name", ["residual", "concatenated"])
def test_the_allocation_is_the_best_of_all_numbers(name: str) -> None:
    model, x = made(name)
    found = cbs_opt.shrink(model, x, flops=0.6)
    samples, targets = drawn(x, None, len(x), 0), find_targets(model)
    coupled = coupling(model, samples.x.take(slice(1)).inputs(model), targets)
    curves = Curves(model, samples, targets, coupled.sets, "joint", None, 0.01, Clock(), 0)
    most = 0.6 * coupled.flops.of([part.units for part in coupled.sets])
    best = min(
        sum(curves.losses(counts))
        for counts in itertools.product(*(range(1, part.units + 1) for part in coupled.sets))
        if coupled.flops.of(counts) <= most
    )
    assert found.flops <= most
    assert found.loss == pytest.approx(best, rel=1e-5)
    assert found.bound <= best


def test_the_readers_weights_are_the_best_for_what_is_left() -> None:
    model, x = made("flattened")
    found = cbs_opt.shrink(model, x, parameters=0.6, damping=0.1)
    kept = list(found.sets[0].kept)
    columns = (9 * np.array(kept)[:, None] + np.arange(9)).ravel()
    rows = list(found.sets[1].kept)
    layer = layer_grams(model, x, find_targets(model, ["4"]), damping=0.1)["4"]
    H = layer.H[0]
    best = np.linalg.solve(H[np.ix_(columns, columns)], (H @ layer.w_bar.T)[columns]).T[rows]
    np.testing.assert_allclose(found.model[4].weight.detach().numpy(), best, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept", [[0, 2, 3], [], list(range(5))])
def test_one_support_for_all_rows(kept: list[int]) -> None:
    rng = np.random.default_rng(0)
    A, w, g = rng.normal(size=(9, 5)), rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    H, mask = A.T @ A, np.isin(np.arange(5), kept)
    found = update_columns(H, w, mask, g)
    assert not found[:, ~mask].any()
    # The gradient of the quadratic model is zero on the support.
    np.testing.assert_allclose((g + (found - w) @ H)[:, mask], 0.0, atol=1e-10)


def test_refinement_and_new_statistics_bring_the_outputs_closer() -> None:
    model, x = made("residual", samples=200)
    dense = model(torch.from_numpy(x)).detach()

    def apart(**more: Any) -> float:
        found = cbs_opt.shrink(model, x, flops=0.5, **more)
        return float((found.model(torch.from_numpy(x)).detach() - dense).square().mean())

    assert apart(refine=20) < apart()
    assert any(
        note.startswith("1 batch-normalization layer took new running means and variances from the calibration samples")
        for note in cbs_opt.shrink(model, x, flops=0.5, reestimate_batchnorm=True).notes
    )


class FixedView(nn.Module):
    """Its code says how many numbers the flattened map has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.first(x).relu().view(-1, 64))
        return y


def halved() -> nn.Module:
    """Its code takes channels by their places: the shuffle puts those of two halves in turns."""
    shuffled = [nn.Conv2d(3, 8, 3), nn.ChannelShuffle(2), nn.Conv2d(8, 4, 3)]
    return nn.Sequential(*shuffled, nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("build", [FixedView, halved])
def test_a_size_in_the_code_is_refused_before_any_work(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbs_opt.structure.curves.layer_grams", None)
    x = np.random.default_rng(0).normal(size=(8, 3, 6, 6)).astype(np.float32)
    with pytest.raises(InputError, match=r"^model: the smaller network .* name the layers that read it in ignore$"):
        cbs_opt.shrink(build().eval(), x, flops=0.5)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({}, InputError, "give exactly one"),
        ({"flops": 0.5, "parameters": 0.5}, InputError, "give exactly one"),
        ({"flops": 1.0}, InputError, r"^flops: is 1\.0"),
        ({"parameters": True}, InputError, "^parameters: is True"),
        # Of the products 162 + 270 + 30 at each of 36 positions and 24 at the end, 27 + 9 + 1 and 4 are left.
        ({"flops": 0.01}, PatternError, r"^flops: with one unit of each set 8\.021 % are still left; allow more$"),
        ({"flops": 0.5, "selection": "joined"}, UnknownMethodError, "did you mean joint"),
        ({"flops": 0.5, "allocation": "even"}, UnknownMethodError, "curves, uniform"),
        ({"flops": 0.5, "ignore": ["inner", "outer", "head"]}, InputError, "^model: no channels can be removed"),
    ],
)
def test_bad_input_is_one_sentence(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    model, x = made("residual")
    with pytest.raises(error, match=words):
        cbs_opt.shrink(model, x, **asked)


def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, x = made("residual")
    cbs_opt.shrink(model, x, flops=0.5).save(tmp_path)
    with pytest.raises(InputError, match=r"tensor inner.* give the dense network"):
        cbs_opt.load_shrunk(made("plain")[0], tmp_path)
    with pytest.raises(InputError, match="no such file"):
        cbs_opt.load_shrunk(model, tmp_path / "elsewhere")
    file = tmp_path / "structure.json"
    told = json.loads(file.read_text())
    for broken in ("{", "[]", json.dumps({**told, "format": 2}), json.dumps({**told, "removed": [{}]})):
        file.write_text(broken)
        with pytest.raises(InputError, match=r"structure\.json: is"):
            cbs_opt.load_shrunk(model, tmp_path)
    told["removed"][0]["positions"] = [99]
    file.write_text(json.dumps(told))
    with pytest.raises(InputError, match="no such positions"):
        cbs_opt.load_shrunk(model, tmp_path)
