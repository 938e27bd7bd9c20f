"""Choosing weights by name."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from cbs_opt.errors import InputError
from cbs_opt.network.load import load_network
from cbs_opt.network.reference import resnet20
from cbs_opt.network.targets import find_target, find_targets, shared_weights


def test_every_prunable_layer_by_default(skipping, attending):
    assert [target.tensor for target in find_targets(skipping)] == [
        "a.weight",
        "b.weight",
        "c.weight",
        "short.weight",
        "fc.weight",
    ]
    kinds = [(target.name, target.kind) for target in find_targets(attending)]
    linear = [(name, "linear") for name in ("mlp.0", "mlp.2", "head")]
    assert kinds == [("mixer.qkv", "conv1d"), ("mixer.out", "conv1d"), *linear]


def test_patterns_and_the_sets_of_the_papers():
    model = resnet20()
    assert sum(target.numel for target in find_targets(model, ignore=["*downsample*"])) == 268_336
    blocks = find_targets(model, ["layer*"], ["*downsample*"])
    assert len(blocks) == 18
    assert sum(target.numel for target in blocks) == 267_264
    assert find_targets(model, "fc") == (find_target(model, "fc"),)


@pytest.mark.parametrize(
    ("targets", "ignore", "message"),
    [
        (["fc9"], [], "targets: no prunable layer is called 'fc9'; the network has fc1, fc2, fc3"),
        (["fc*", "relu1"], [], "no prunable layer is called 'relu1'"),
        (["fc1"], ["fc1*", "x"], "ignore: no prunable layer is called 'x'"),
        (["fc1"], ["fc1"], "nothing is left to prune; the network has fc1, fc2, fc3"),
        ([], [], "nothing is left to prune"),
    ],
)
def test_patterns_that_match_nothing(targets, ignore, message):
    with pytest.raises(InputError, match=message):
        find_targets(load_network("digits"), targets, ignore)


def test_a_weight_that_two_layers_share():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False))
    model[2].weight = model[0].weight
    with pytest.raises(InputError, match=r"layer 2: its weight is the same tensor as 0\.weight; .* ignore the layer"):
        find_targets(model, ["*", "2"])
    assert [target.name for target in find_targets(model)] == ["1"]
    assert shared_weights(model) == {"2": "0.weight"}
    with pytest.raises(InputError, match="targets: nothing is left to prune"):
        find_targets(model, ignore=["1"])


def test_a_weight_that_is_computed():
    model = nn.Sequential(nn.Linear(4, 4))
    prune.l1_unstructured(model[0], "weight", 0.5)
    with pytest.raises(InputError, match="layer 0: its weight is no parameter but computed"):
        find_targets(model)


@pytest.mark.parametrize("name", ["a", "b", "c", "short", "fc"])
def test_rows_of_the_weight_matrix(skipping, name):
    target = find_target(skipping, name)
    weight = skipping.get_parameter(target.tensor).detach()
    matrix = target.matrix(weight)
    assert matrix.shape == (target.outputs, target.inputs)
    assert torch.equal(target.weight(matrix), weight)
    np.testing.assert_array_equal(matrix.flatten(), weight.flatten()[target.order()])
    for row in range(target.outputs):
        np.testing.assert_array_equal(matrix[row], weight[row].flatten())
        np.testing.assert_array_equal(matrix[row], weight.flatten()[target.positions(row)])


def test_rows_of_a_transposed_weight(attending):
    target = find_target(attending, "mixer.qkv")
    weight = attending.mixer.qkv.weight.detach()
    assert (target.outputs, target.inputs) == (18, 6)
    np.testing.assert_array_equal(target.matrix(weight)[4], weight[:, 4])
    np.testing.assert_array_equal(weight.flatten()[target.positions(4)], weight[:, 4])
    np.testing.assert_array_equal(weight.flatten()[target.order()], weight.t().flatten())
    assert torch.equal(target.weight(target.matrix(weight)), weight)


def test_groups(skipping):
    target = find_target(skipping, "b")
    assert (target.groups, target.inputs) == (4, 12)
    assert [target.group(row) for row in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_name_of_several_layers_is_told_how_to_name_them_all() -> None:
    model = torch.nn.Sequential()
    model.add_module("stem", torch.nn.Sequential(torch.nn.Linear(2, 2)))
    with pytest.raises(InputError, match=r"ignore: no prunable layer is called 'stem'; did you mean 'stem\.\*'\?"):
        find_targets(model, ignore=["stem"])
