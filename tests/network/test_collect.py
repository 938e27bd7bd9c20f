"""Gradients and layer inputs against plain autograd and plain matrix products."""

import numpy as np
import pytest
import torch

from cbs_opt.collect import gradients, layer_inputs
from cbs_opt.errors import InputError
from cbs_opt.network import digits_data, load_network


@pytest.fixture(scope="module")
def model():
    return load_network("digits")


def test_gradients_equal_autograd(model):
    data = digits_data()
    x, y = data.train_x[:7], data.train_y[:7]
    entries = {"fc1.weight": np.array([0, 5, 700, 2047]), "fc3.weight": np.arange(160)}
    collected = gradients(model, x, y, entries, batch=3)
    double = load_network("digits").double()
    for name, chosen in entries.items():
        parameter = double.get_parameter(name)
        full = []
        for i in range(7):
            outputs = double(torch.from_numpy(x[i : i + 1]).double())
            loss = torch.nn.functional.cross_entropy(outputs, torch.tensor([y[i]]))
            (gradient,) = torch.autograd.grad(loss, parameter)
            full.append(gradient.flatten().numpy())
        full = np.stack(full)
        assert collected[name].rows.dtype == np.float64
        np.testing.assert_allclose(collected[name].rows, full[:, chosen], rtol=1e-10, atol=1e-14)
        assert collected[name].mean_square == pytest.approx((full**2).mean(), rel=1e-10)


def test_model_is_left_alone(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = digits_data()
    gradients(model, data.train_x[:2], data.train_y[:2], {"fc2.weight": np.arange(4)})
    layer_inputs(model, data.train_x[:2], ["fc2"])
    assert all(parameter.grad is None and parameter.dtype == torch.float32 for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_layer_inputs(model):
    x = digits_data().train_x[:5]
    found = layer_inputs(model, x, ["fc1", "fc2"], batch=2)
    np.testing.assert_array_equal(found["fc1"], x.astype(np.float64))
    W, b = (model.state_dict()[f"fc1.{part}"].double().numpy() for part in ("weight", "bias"))
    np.testing.assert_allclose(found["fc2"], np.maximum(x @ W.T + b, 0), rtol=1e-12, atol=1e-12)


def test_gradient_that_is_not_finite_names_sample_and_tensor(model):
    x = digits_data().train_x[:4].copy()
    x[2, 10] = np.inf
    with pytest.raises(InputError, match=r"the gradient of sample 2 with respect to fc1\.weight is not finite"):
        gradients(model, x, digits_data().train_y[:4], {"fc1.weight": np.arange(64)})


def test_label_without_output(model):
    with pytest.raises(InputError, match="labels from 3 to 10, but the network has 10 outputs"):
        gradients(model, digits_data().train_x[:2], np.array([3, 10]), {"fc1.weight": np.arange(2)})


def test_layer_that_is_no_linear(model):
    with pytest.raises(InputError, match="relu1: is a ReLU"):
        layer_inputs(model, digits_data().train_x[:2], ["relu1"])
