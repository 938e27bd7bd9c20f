"""Blocks against the formulas of their curvatures, and put back where they came from."""

import numpy as np
import pytest
import torch

from cbs_opt.collect import gradients
from cbs_opt.errors import InputError
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network
from cbs_opt.study.cutting import apply, cut

M = 50


@pytest.fixture(scope="module")
def model():
    return load_network("digits")


@pytest.fixture(scope="module")
def samples():
    data = digits_data()
    return data.train_x[:M], data.train_y[:M]


def test_fisher_chunks(model, samples):
    (layer,) = cut(model, *samples, {"fc3": "fisher"}, block_size=48, dampening_frac=0.1)
    G = gradients(model, *samples, {"fc3.weight": np.arange(160)})["fc3.weight"].rows
    damping = 0.1 * (G**2).mean()
    assert layer.damping == pytest.approx(damping, rel=1e-12)
    assert [block.problem.n for block in layer.blocks] == [48, 48, 48, 16]
    assert layer.blocks[1].problem.name == "fc3.weight[48:96]"
    for block in layer.blocks:
        part = G[:, block.indices]
        expected = part.T @ part / M + damping * np.eye(len(block.indices))
        np.testing.assert_allclose(block.problem.curvature.dense(), expected, rtol=1e-10, atol=1e-18)
        np.testing.assert_array_equal(block.problem.w_bar, model.fc3.weight.detach().flatten().numpy()[block.indices])


def test_gram_rows_share_one_curvature(model, samples):
    (layer,) = cut(model, *samples, {"fc2": "gram"}, dampening_frac=0.02)
    fc1 = load_network("digits").double()[:2]
    X = fc1(torch.from_numpy(samples[0]).double()).detach().numpy()
    gram = X.T @ X / M
    expected = gram + 0.02 * gram.diagonal().mean() * np.eye(32)
    assert len(layer.blocks) == 16
    assert len({id(block.problem.curvature) for block in layer.blocks}) == 1
    np.testing.assert_allclose(layer.blocks[0].problem.curvature.dense(), expected, rtol=1e-10)
    np.testing.assert_array_equal(layer.blocks[5].problem.w_bar, model.fc2.weight[5].detach().numpy())


def test_rows_of_grouped_convolutions(skipping, images, labels):
    (layer,) = cut(skipping, images, labels, {"b": "gram"})
    assert [block.problem.n for block in layer.blocks] == [12] * 8
    assert len({id(block.problem.curvature) for block in layer.blocks}) == 4
    np.testing.assert_array_equal(layer.blocks[5].problem.w_bar, skipping.b.weight[5].detach().flatten().numpy())
    same = apply(skipping, layer.blocks, [block.problem.w_bar for block in layer.blocks])
    assert torch.equal(same.b.weight, skipping.b.weight)


def test_dead_layers_make_no_blocks(model, samples):
    with pytest.raises(InputError, match=r"fc1\.weight: the damping is 0\.0"):
        cut(model, np.zeros_like(samples[0]), samples[1], {"fc1": "gram"})


def test_dead_inputs_are_damped(model, samples):
    x = samples[0].copy()
    x[:, :40] = 0
    layers = cut(model, x, samples[1], {"fc1": "gram"})
    assert layers[0].blocks[0].problem.curvature.diagonal()[0] == layers[0].damping > 0


def test_put_back_changes_nothing_else(model, samples):
    layers = cut(model, *samples, {"fc1": "fisher", "fc2": "gram"}, max_blocks=3)
    blocks = [block for layer in layers for block in layer.blocks]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = apply(model, blocks, [np.full(block.problem.n, 7.0) for block in blocks])
    for name, tensor in pruned.state_dict().items():
        expected = before[name].clone()
        for block in blocks:
            if block.tensor == name:
                expected.view(-1)[torch.from_numpy(block.indices)] = 7.0
        assert torch.equal(tensor, expected)
        assert torch.equal(model.state_dict()[name], before[name])
    same = apply(model, blocks, [block.problem.w_bar for block in blocks])
    assert all(torch.equal(tensor, before[name]) for name, tensor in same.state_dict().items())


def test_put_back_into_a_transposed_parameter(model, samples):
    (layer,) = cut(model, *samples, {"fc3": "fisher"}, max_blocks=2)
    twisted = load_network("digits")
    twisted.fc3.weight = torch.nn.Parameter(twisted.fc3.weight.detach().t().contiguous().t())
    assert not twisted.fc3.weight.is_contiguous()
    weights = [np.arange(block.problem.n, dtype=float) for block in layer.blocks]
    assert torch.equal(apply(twisted, layer.blocks, weights).fc3.weight, apply(model, layer.blocks, weights).fc3.weight)


def test_max_blocks_spreads_over_the_layer(model, samples):
    (layer,) = cut(model, *samples, {"fc1": "fisher"}, max_blocks=4)
    assert layer.total == 64
    assert [block.indices[0] for block in layer.blocks] == [0, 512, 1024, 1536]


@pytest.mark.parametrize(
    ("curvature", "options", "message"),
    [
        ({"fc9": "gram"}, {}, "no such prunable layer; it has fc1, fc2, fc3"),
        ({"fc1": "hessian"}, {}, "there are fisher, gram"),
        ({"fc1": "gram"}, {"dampening_frac": 0.0}, r"dampening_frac: is 0\.0"),
        ({"fc1": "fisher"}, {"block_size": 0}, "block_size: is 0"),
        ({"fc1": "fisher"}, {"max_blocks": 0}, "max_blocks: is 0"),
    ],
)
def test_bad_requests(model, samples, curvature, options, message):
    with pytest.raises(InputError, match=message):
        cut(model, *samples, curvature, **options)
