"""Layer Gram matrices against unfolding every input and multiplying."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_inputs import input_of, unfolded
from torch import nn

from cbs_opt.collect import layer_grams, layer_sums
from cbs_opt.errors import InputError
from cbs_opt.network.data import digits_data
from cbs_opt.network.load import load_network
from cbs_opt.network.targets import find_targets


def assert_is_gram(model, x, **options):
    targets = find_targets(model)
    for name, found in layer_grams(model, x, targets, damping=0.25, precision="float64", **options).items():
        X = unfolded(found.target, model.get_submodule(name), input_of(model, name, x))
        expected = X @ X.transpose(0, 2, 1) / X.shape[2]
        np.testing.assert_allclose(found.gram, expected, rtol=1e-10, atol=1e-12 * expected.max())
        np.testing.assert_allclose(found.H, expected + 0.25 * np.eye(found.target.inputs), rtol=1e-10, atol=1e-12)
        assert found.columns == X.shape[2]
        assert not found.g.any()
        assert not found.offset.any()
    assert not any(module._forward_pre_hooks for module in model.modules())


@settings(deadline=None, max_examples=60)
@given(
    groups=st.sampled_from([1, 2, 4]),
    inner=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    seed=st.integers(0, 99),
)
def test_convolutions_of_every_shape(groups, inner, kernel, stride, padding, dilation, size, seed):
    reach = [n + 2 * p - d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)]
    assume(min(reach) >= 1)
    model = nn.Sequential(
        nn.Conv2d(groups * inner, 2 * groups, kernel, stride, padding, dilation, groups=groups, bias=bool(seed % 2))
    )
    x = np.random.default_rng(seed).normal(size=(3, groups * inner, *size)).astype(np.float32)
    assert_is_gram(model, x, batch=2)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_gram_gives_the_mean_square_of_the_outputs(padding, mode):
    """½ mean of (W·column)² over samples and positions is ½ wᵀ gram w, whatever the padding."""
    options = {"dilation": (1, 2), "groups": 2, "bias": False, "padding": padding, "padding_mode": mode}
    model = nn.Sequential(nn.Conv2d(4, 6, (4, 3), **options))
    x = np.random.default_rng(0).normal(size=(3, 4, 8, 9)).astype(np.float32)
    (found,) = layer_grams(model, x, find_targets(model), damping=0.0, precision="float64").values()
    with torch.no_grad():
        out = model.double()(torch.from_numpy(x).double()).transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(found.losses(0 * found.w_bar), 0.5 * (out**2).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.c, 0.5 * (out**2).mean(axis=1), rtol=1e-12)


def test_a_network_with_skips(skipping, images, monkeypatch):
    monkeypatch.setitem(layer_sums.MOST_ENTRIES, "cpu", 500)  # inputs are unfolded a sample or two at a time
    assert_is_gram(skipping, images, batch=5)


def test_transposed_weights(attending, tokens):
    assert_is_gram(attending, tokens)


def test_rows_of_the_digits_network():
    model, x = load_network("digits"), digits_data().train_x[:50]
    found = layer_grams(model, x, find_targets(model), dampening_frac=0.1)["fc2"]
    X = input_of(model, "fc2", x).numpy()
    assert found.precision == "float32"
    assert found.damping == pytest.approx(0.1 * (X**2).mean(), rel=1e-5)
    problem = found.problem(3)
    w = np.random.default_rng(0).normal(size=32)
    expected = 0.5 * ((X @ (w - problem.w_bar)) ** 2).mean() + found.damping / 2 * ((w - problem.w_bar) ** 2).sum()
    assert problem.objective(w) == pytest.approx(expected, rel=1e-4)
    assert found.problem(4).curvature is problem.curvature


def test_a_layer_called_twice_sees_both_inputs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(torch.relu(self.fc(x)))

    model, x = Twice().eval(), np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    assert_is_gram(model, x)


def test_dead_layers_are_named_and_damped(skipping, images):
    images[:] = 0
    found = layer_grams(skipping, images, find_targets(skipping, "a"), dampening_frac=1e-3)["a"]
    assert found.damping == 1.0
    assert found.notes == (
        "layer a: sees nothing but zeros on these samples (a dead layer)",
        "layer a: λ = 1 in place of a fraction of zero",
    )


def test_dead_inputs_need_damping(skipping, images):
    images[:, 1] = 0
    with pytest.raises(InputError, match="layer a: 9 of its inputs are zero on all samples and the damping is 0"):
        layer_grams(skipping, images, find_targets(skipping, "a"), damping=0.0)


def test_an_input_that_is_not_finite_names_layer_and_sample(skipping, images):
    images[5, 0, 0, 0] = np.inf
    with pytest.raises(InputError, match="layer a: its input for sample 5 is not finite"):
        layer_grams(skipping, images, find_targets(skipping), damping=1.0, batch=2)


def test_a_bad_sample_is_called_by_the_number_given(skipping, images):
    images[5, 0, 0, 0] = np.inf
    with pytest.raises(InputError, match="layer a: its input for sample 15 is not finite"):
        layer_grams(skipping, images, find_targets(skipping), damping=1.0, batch=2, numbers=np.arange(10, 17))


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_what_float32_cannot_square_is_computed_in_float64(skipping, images, size):
    targets = find_targets(skipping, ["a", "short"])
    plain = layer_grams(skipping, images, targets, damping=1.0)
    for name, found in layer_grams(skipping, images * np.float32(size), targets, damping=1.0).items():
        np.testing.assert_allclose(found.gram / size**2, plain[name].gram, rtol=1e-4, atol=1e-5)


def test_what_float64_cannot_square_is_an_error(skipping, images):
    large = images.astype(np.float64)
    large[4] *= 1e200
    with pytest.raises(InputError, match=r"layer a: the squares of its inputs overflow float64; .* sample 4 "):
        layer_grams(skipping, large, find_targets(skipping, ["a"]), damping=1.0, precision="float64")


def test_a_layer_that_is_never_called(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    model.unused = nn.Module()
    model.unused.fc = nn.Linear(2, 2)
    model.unused.forward = lambda x: x
    with pytest.raises(InputError, match=r"layer unused\.fc: the network never calls it; ignore it"):
        layer_grams(model, images, find_targets(model), damping=1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_grams_on_the_gpu(skipping, images):
    targets = find_targets(skipping)
    here = layer_grams(skipping, images, targets, damping=1.0, precision="float64")
    there = layer_grams(skipping.cuda(), images, targets, damping=1.0, precision="float64")
    for name, found in here.items():
        np.testing.assert_allclose(there[name].gram, found.gram, rtol=1e-8, atol=1e-10)
