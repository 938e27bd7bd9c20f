"""Which channels go together, layer kind by layer kind, and the smaller network without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from channel_networks import NETWORKS, made
from torch import nn

import cbs_opt.network.inputs as inputs_of
from cbs_opt.errors import InputError
from cbs_opt.network.targets import find_targets
from cbs_opt.structure.channels import removed_positions
from cbs_opt.structure.couple import Coupling, coupling
from cbs_opt.structure.rebuild import masked, small


def coupled(model: nn.Module, x: Any) -> Coupling:
    inputs = inputs_of.as_samples(x).take(slice(1)).inputs(model)
    return coupling(model, inputs, find_targets(model))


def shape_of(found: Coupling) -> dict[str, tuple[int, dict[tuple[str, int], int]]]:
    """Of each set by name the units, and how many positions of each axis go with a unit."""
    return {
        part.name: (part.units, {slices.axis: slices.positions.shape[1] for slices in part.slices})
        for part in found.sets
    }


def norm(name: str) -> dict[tuple[str, int], int]:
    return {(f"{name}.{what}", 0): 1 for what in ("weight", "bias", "running_mean", "running_var")}


EXPECTED: dict[str, dict[str, tuple[int, dict[tuple[str, int], int]]]] = {
    # The LayerNorm mixes what the second layer makes, so only the first one's neurons can go.
    "plain": {"0": (7, {("0.weight", 0): 1, ("0.bias", 0): 1, **norm("1"), ("3.weight", 1): 1})},
    "depthwise": {
        "0": (
            6,
            {
                ("0.weight", 0): 1,
                **norm("1"),
                ("3.weight", 0): 1,
                ("3.bias", 0): 1,
                ("4.weight", 0): 1,
                ("5.weight", 1): 1,
            },
        ),
        "5": (4, {("5.weight", 0): 1, ("5.bias", 0): 1, ("8.weight", 1): 1}),
    },
    # A group of the convolution: two inputs, three outputs, a group of the normalization.
    "grouped": {
        "0": (
            3,
            {
                ("0.weight", 0): 2,
                ("0.bias", 0): 2,
                ("2.weight", 0): 3,
                ("2.bias", 0): 3,
                ("3.weight", 0): 3,
                ("3.bias", 0): 3,
                ("4.weight", 1): 3,
            },
        ),
        "4": (4, {("4.weight", 0): 1, ("4.bias", 0): 1, ("7.weight", 1): 9}),
    },
    "flattened": {
        "0": (5, {("0.weight", 0): 1, ("0.bias", 0): 1, ("4.weight", 1): 9}),
        "4": (4, {("4.weight", 0): 1, ("4.bias", 0): 1, ("6.weight", 1): 1}),
    },
    "residual": {
        "stem": (
            6,
            {
                ("stem.weight", 0): 1,
                ("stem.bias", 0): 1,
                ("inner.weight", 1): 1,
                ("outer.weight", 0): 1,
                ("outer.bias", 0): 1,
                ("head.weight", 1): 1,
            },
        ),
        "inner": (5, {("inner.weight", 0): 1, ("inner.bias", 0): 1, **norm("norm"), ("outer.weight", 1): 1}),
    },
    "concatenated": {
        "left": (4, {("left.weight", 0): 1, ("left.bias", 0): 1, ("both.weight", 1): 1}),
        "right": (5, {("right.weight", 0): 1, ("right.bias", 0): 1, ("both.weight", 1): 1}),
        "both": (
            4,
            {
                ("both.weight", 0): 1,
                ("both.bias", 0): 1,
                ("squeeze.weight", 1): 1,
                ("excite.weight", 0): 1,
                ("excite.bias", 0): 1,
                ("head.weight", 1): 1,
            },
        ),
        "squeeze": (3, {("squeeze.weight", 0): 1, ("squeeze.bias", 0): 1, ("excite.weight", 1): 1}),
    },
    # Four filters make the four pixels of a channel; the softmax keeps what it mixes.
    "assorted": {
        "first": (2, {("first.weight", 0): 4, ("first.bias", 0): 4, ("second.weight", 1): 1}),
        "second": (5, {("second.weight", 0): 1, ("second.bias", 0): 1, ("mixed.weight", 1): 1}),
    },
    # A head of keys and values goes with the two heads of queries that read it; the scale within heads stays.
    "attention": {
        "q_proj": (
            2,
            {
                ("q_proj.weight", 0): 6,
                ("q_proj.bias", 0): 6,
                ("k_proj.weight", 0): 3,
                ("k_proj.bias", 0): 3,
                ("v_proj.weight", 0): 3,
                ("v_proj.bias", 0): 3,
                ("o_proj.weight", 1): 6,
            },
        ),
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_goes_together(name: str) -> None:
    model, x = made(name)
    assert shape_of(coupled(model, x)) == EXPECTED[name]


def test_the_second_branch_stands_behind_the_first() -> None:
    model, x = made("concatenated")
    right = next(part for part in coupled(model, x).sets if part.name == "right")
    (reader,) = right.readers
    assert reader.positions.ravel().tolist() == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETWORKS)
def test_the_small_network_is_the_masked_one(name: str, seed: int) -> None:
    model, x = made(name, seed)
    found, rng = coupled(model, x), np.random.default_rng(seed)
    kept = [rng.permutation(part.units)[: rng.integers(1, part.units)] for part in found.sets]
    removed = removed_positions(found.sets, kept)
    dense, large, little = model(torch.from_numpy(x)), masked(model, removed), small(model, removed)
    y, z = large(torch.from_numpy(x)), little(torch.from_numpy(x))
    assert (y - dense).abs().max() > 1e-3
    torch.testing.assert_close(z, y, rtol=1e-5, atol=1e-5)
    counts = [len(units) for units in kept]
    assert sum(p.numel() for p in little.parameters()) == found.parameters.of(counts)
    assert sum(p.numel() for p in model.parameters()) == found.parameters.of([part.units for part in found.sets])


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_those_that_torch_counts(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model, x = made(name)
    found = coupled(model, x)
    kept = [range((part.units + 1) // 2) for part in found.sets]
    little = small(model, removed_positions(found.sets, kept))
    # The counter knows attention by its products only.
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for network, counts in ((model, [part.units for part in found.sets]), (little, [len(k) for k in kept])):
            with FlopCounterMode(display=False) as counter:
                network(torch.from_numpy(x[:1]))
            assert counter.get_total_flops() == found.flops.of(counts)


def test_modules_say_their_new_sizes() -> None:
    model, x = made("grouped")
    found = coupled(model, x)
    little = small(model, removed_positions(found.sets, [[0, 2], range(4)]))
    grouped, normalization = little[2], little[3]
    assert (grouped.groups, grouped.in_channels, grouped.out_channels) == (2, 4, 6)
    assert (normalization.num_groups, normalization.num_channels) == (2, 6)
    assert little[0].out_channels == 4
    assert little[4].in_channels == 6


def test_a_tied_weight_is_cut_in_both_places() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.head = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 2)
            self.again.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.first(x)) * torch.relu(self.again(x)))

    torch.manual_seed(0)
    model, x = Tied().eval(), torch.randn(4, 5)
    found = coupling(model, inputs_of.as_samples(x).take(slice(1)).inputs(model), find_targets(model, ["head"]))
    removed = removed_positions(found.sets, [[1, 2, 5]])
    little = small(model, removed)
    assert little.first.weight is little.again.weight
    assert little.again.bias.shape == (3,)
    torch.testing.assert_close(little(x), masked(model, removed)(x))


def test_what_the_network_returns_or_takes_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU()).eval()
    assert coupled(model, np.ones((3, 4), dtype=np.float32)).sets == ()


def test_an_operation_without_a_rule_keeps_its_inputs_and_is_named() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).sort(dim=-1)[0])

    found = coupled(Sorted().eval(), np.ones((3, 4), dtype=np.float32))
    assert found.sets == ()
    assert found.notes == ("the outputs of first stay: operation sort mixes or keeps them",)


def test_heads_of_torchs_own_attention_stay() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    found = coupled(model, np.ones((2, 5, 8), dtype=np.float32))
    assert [part.name for part in found.sets] == ["linear1"]


def test_tensors_that_disagree_in_size_are_one_sentence() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) + self.second(x)

    with pytest.raises(InputError, match=r"^x: the network cannot take samples of shape \(4,\) .*6.*5") as caught:
        coupled(Apart().eval(), np.ones((3, 4), dtype=np.float32))
    assert "\n" not in str(caught.value)


def test_a_network_that_decides_by_values_is_refused_in_one_sentence() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.first(x)
            return y if float(y.sum()) > 0 else -y

    with pytest.raises(InputError, match=r"^model: cannot be traced by torch.export .* must not decide") as caught:
        coupled(Deciding().eval(), np.ones((3, 4), dtype=np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("positions", [[7], [-1], list(range(5))])
def test_positions_that_are_not_there_are_refused(positions: list[int]) -> None:
    model, _ = made("residual")
    with pytest.raises(InputError, match=r"tensor inner\.weight: .* dimension 0"):
        small(model, {("inner.weight", 0): np.array(positions)})
