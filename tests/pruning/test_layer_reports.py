"""What is said of each layer and block of a pruned network, and the time that its bounds may take."""

import numpy as np
import pytest

import cbs_opt
from cbs_opt.errors import InputError


def test_a_layer_is_compared_with_itself_without_weights(digits_network, digits):
    """The relative objective from the layer's inputs and weights alone."""
    x, lam = digits.train_x[:80], 1e-2
    found = cbs_opt.prune(digits_network, x, 0.6, curvature="gram", samples=80, damping=lam, targets=["fc1"])
    w_bar = digits_network.fc1.weight.detach().double().numpy()
    X = x.reshape(80, -1).astype(np.float64)

    def f(w):
        return 0.5 * (((w - w_bar) @ X.T) ** 2).sum() / 80 + 0.5 * lam * ((w - w_bar) ** 2).sum()

    (layer,) = found.layers
    w = found.weights.values.reshape(w_bar.shape)
    assert layer.relative == pytest.approx(f(w) / f(np.zeros_like(w)), rel=1e-4)
    assert layer.gap == pytest.approx((f(w) - layer.bound) / f(w), rel=1e-3)
    assert 0 < layer.seconds <= found.seconds["selection"] + found.seconds["bound"] + 0.1
    of_all = cbs_opt.prune(digits_network, digits, 0.6, curvature="fisher", samples=50, bound=False)
    assert of_all.layers[0].relative is None


def test_blocks_of_layers_are_reported_as_plain_data(digits_network, digits):
    from dataclasses import replace

    from cbs_opt.pruning.result import BlockReport

    found = cbs_opt.prune(digits_network, digits, 0.5, curvature="fisher", method="magnitude", samples=50, bound=False)
    assert found.to_dict()["blocks"] == []
    blocks = (BlockReport("layers.0", 0.25, 0.125), BlockReport("layers.1", 0.5))
    assert replace(found, blocks=blocks).to_dict()["blocks"] == [
        {"name": "layers.0", "error": 0.25, "refined": 0.125},
        {"name": "layers.1", "error": 0.5, "refined": None},
    ]


def test_the_page_is_written_from_python(digits_network, digits, tmp_path):
    found = cbs_opt.prune(digits_network, digits, 0.5, curvature="fisher", method="magnitude", samples=50, bound=False)
    found.save_report(tmp_path / "named.html", name="<digits>")
    page = (tmp_path / "named.html").read_text(encoding="utf-8")
    assert "<title>Pruned network: &lt;digits&gt;</title>" in page
    for layer in found.layers:
        assert f'>{layer.name}</td><td data-value="{layer.n}">{layer.n:,}</td>' in page
    found.save_report(tmp_path / "plain.html")
    assert "<title>Pruned network</title>" in (tmp_path / "plain.html").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="does not exist"):
        found.save_report(tmp_path / "no" / "page.html")


def test_bounds_take_no_more_than_their_time_and_one_is_there_for_every_layer(digits_network, digits):
    asked = {"samples": 200, "method": "sparsegpt", "allocation": "layer"}
    whole = cbs_opt.prune(digits_network, digits, 0.6, **asked)
    hurried = cbs_opt.prune(digits_network, digits, 0.6, bound_time=0.0, **asked)
    assert hurried.masks()["fc1.weight"].tolist() == whole.masks()["fc1.weight"].tolist()
    assert all(-np.inf < layer.bound <= layer.objective for layer in hurried.layers)
    assert hurried.bound <= whole.bound
    assert hurried.settings["bound_time"] == 0.0
    fisher = cbs_opt.prune(
        digits_network, digits, 0.6, curvature="fisher", method="magnitude", samples=50, bound_time=0.0
    )
    assert -np.inf < fisher.bound <= fisher.objective


def test_time_for_bounds_that_nobody_asked_for_is_refused(digits_network, digits):
    with pytest.raises(InputError, match=r"bound_time: .* no bound is asked for"):
        cbs_opt.prune(digits_network, digits, 0.6, bound=False, bound_time=1.0)
    for wrong in (-1.0, float("nan"), "5", True):
        with pytest.raises(InputError, match=r"bound_time: is .*; a number of seconds"):
            cbs_opt.prune(digits_network, digits, 0.6, bound_time=wrong)
    with pytest.raises(InputError, match="bound_time: belongs to the curvature fisher, gram, sequential"):
        cbs_opt.prune(digits_network, digits, 0.6, curvature="gauss-newton", bound_time=1.0)
