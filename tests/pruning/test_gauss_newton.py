"""Gauss–Newton products and steps against explicit matrices."""

import numpy as np
import pytest

import cbs_opt
from cbs_opt.errors import CbsOptError
from cbs_opt.network.inputs import as_samples
from cbs_opt.network.samples import drawn
from cbs_opt.network.targets import find_targets
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.gauss_newton import _Network


@pytest.fixture
def small(conv_network):
    import torch

    model, x, y = conv_network
    model = model.double()
    weights = Weights.of(model, find_targets(model))
    return (
        model,
        x.astype(np.float64),
        y,
        weights,
        torch.from_numpy(weights.values).double(),
        _Network(model, drawn(x, y, len(x), 0), weights, 0),
    )


def test_product_equals_the_explicit_matrix(small):
    """JᵀSJ from one Jacobian a sample, S = diag(p) − ppᵀ."""
    import torch

    model, x, _, weights, w, network = small
    total = np.zeros((weights.n, weights.n))
    for sample in x:
        fed = as_samples(sample[None]).inputs(model)
        J = torch.autograd.functional.jacobian(lambda v: network._logits(network._split(v), fed)[0], w)  # noqa: B023
        p = network._logits(network._split(w), fed)[0].softmax(dim=0)
        total += (J.T @ (torch.diag(p) - torch.outer(p, p)) @ J).numpy()
    u = np.random.default_rng(1).normal(size=weights.n)
    assert np.allclose(network.product(w)(torch.from_numpy(u)).numpy(), total @ u / len(x), rtol=1e-8, atol=1e-12)


def test_gradient_equals_differences_of_the_loss(small):
    import torch

    _, _, _, weights, w, network = small
    loss, g = network.gradient(w)
    assert loss == pytest.approx(network.loss(w))
    for i in (0, 20, 60, weights.n - 1):
        step = torch.zeros(weights.n, dtype=torch.float64)
        step[i] = 1e-5
        up, down = network.loss(w + step), network.loss(w - step)
        assert float(g[i]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("method", ["magnitude", "obd"])
def test_stages_prune_exactly_and_lower_the_loss(digits_network, digits, method):
    pruned = cbs_opt.prune(
        digits_network, digits, 0.8, curvature="gauss-newton", method=method, samples=600, stages=2, damping=1e-2
    )
    assert pruned.weights.pruned == 2176
    assert pruned.bound == -np.inf
    assert pruned.to_dict()["gap"] is None
    mask = pruned.weights.mask
    dense = Weights.of(digits_network, pruned.weights.targets).values
    masked = pruned.weights.with_values(np.where(mask, dense, 0.0), mask)
    samples = drawn(digits.train_x, digits.train_y, len(digits.train_x), 0)
    network = _Network(digits_network, samples, pruned.weights, 0)
    import torch

    assert network.loss(torch.from_numpy(pruned.weights.values)) < network.loss(torch.from_numpy(masked.values))


def test_the_objective_is_that_of_the_explicit_matrix(small, monkeypatch):
    """f = gᵀd + ½dᵀ(mean JᵀSJ + λI)d at the step that prunes, in float64; with one step a stage that is all of it."""
    import torch

    from cbs_opt.pruning import gauss_newton

    monkeypatch.setattr(gauss_newton, "STEPS", 1)
    model, x, y, _, w, network = small
    found = cbs_opt.prune(model, (x, y), 0.5, curvature="gauss-newton", samples=12, damping=0.1, seed=0)
    assert "derivatives in float64" in found.notes
    d = torch.from_numpy(found.weights.values) - w
    lam = found.to_dict()["damping"]
    _, g = network.gradient(w)
    expected = float(g @ d + 0.5 * d @ network.product(w)(d) + 0.5 * lam * d @ d)
    assert found.objective == pytest.approx(expected, rel=1e-6)


def test_pruning_everything_has_the_objective_of_no_weights(small):
    model, x, y, _, w, network = small
    found = cbs_opt.prune(model, (x, y), 1.0, curvature="gauss-newton", samples=12, damping=0.1)
    assert not found.weights.values.any()
    _, g = network.gradient(w)
    expected = float(-g @ w + 0.5 * w @ network.product(w)(w) + 0.05 * w @ w)
    assert found.objective == pytest.approx(expected, rel=1e-6)


def test_refuses_methods_that_need_a_matrix(digits_network, digits):
    with pytest.raises(CbsOptError, match="magnitude or obd"):
        cbs_opt.prune(digits_network, digits, 0.5, curvature="gauss-newton", method="cbs")


def test_a_curvature_that_overflows_names_the_sample_and_the_layer(digits_network, digits):
    """Gradients of one sample that float32 holds, their squares not."""
    import torch

    x, y = digits.train_x[:20].copy(), digits.train_y[:20].copy()
    x[3] *= 1e30
    y[3] = (digits_network(torch.from_numpy(x[3:4])).argmax() + 1) % 10
    with pytest.raises(CbsOptError, match=r"the \w+ of sample 3 with respect to fc\d\.weight is not finite"):
        cbs_opt.prune(digits_network, (x, y), 0.5, curvature="gauss-newton", samples=20, seed=1)
