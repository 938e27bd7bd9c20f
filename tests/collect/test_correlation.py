"""The Gram matrix of a 3×3 convolution by correlation, against unfolding."""

import pytest
import torch
from torch import nn

from cbs_opt.collect import correlation, layer_grams, sequential_layers
from cbs_opt.network.targets import find_targets


@pytest.mark.parametrize(("height", "width"), [(5, 4), (1, 6), (3, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("samples", [1, 9])
def test_gram_and_cross_products_are_those_of_unfolded_inputs(height, width, samples):
    generator = torch.Generator().manual_seed(height * 10 + width)
    x = torch.randn((samples, 3, height, width), generator=generator)
    change = torch.randn((samples, 2, height, width), generator=generator)
    P = nn.functional.unfold(x.double(), 3, padding=1).transpose(0, 1).flatten(1)
    c = change.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(correlation.gram(x), P @ P.t(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(correlation.cross(x, change), c @ P.t(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.Conv2d(2, 3, 3),
        nn.Conv2d(2, 3, 3, padding=1).double(),
        nn.Conv2d(2, 3, 3, padding=2, dilation=2),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Linear(9, 9),
        nn.Conv2d(2, 3, 5, padding=2),
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_layers_are_unfolded(module):
    assert not correlation.is_plain(module)


@pytest.mark.parametrize("padding", [1, "same"])
def test_float32_layers_agree_with_float64(padding):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=padding), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=padding))
    assert all(correlation.is_plain(model[place]) for place in (0, 2))
    x, targets = torch.randn(11, 2, 6, 5).numpy(), find_targets(model)
    exact = layer_grams(model, x, targets, damping=1e-3, precision="float64")
    for name, found in layer_grams(model, x, targets, damping=1e-3).items():
        assert found.columns == exact[name].columns
        torch.testing.assert_close(found.gram, exact[name].gram, rtol=1e-5, atol=1e-6)
    pair = []
    for precision in ("float32", "float64"):
        layers = sequential_layers(model, x, targets, damping=1e-3, precision=precision)
        for layer in layers:
            pair.append(layer)
            layers.replace(layer, layer.w_bar * (abs(layer.w_bar) > 0.1))
    first, second = pair[1], pair[3]
    torch.testing.assert_close(first.g, second.g, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(first.offset, second.offset, rtol=1e-4, atol=1e-6)
    assert abs(second.g).max() > 1e-3
