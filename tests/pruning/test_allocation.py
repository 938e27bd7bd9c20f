"""Row quotas, and the sensitivities behind them."""

import numpy as np
import pytest

import cbs_opt
from cbs_opt.errors import CbsOptError
from cbs_opt.network.samples import drawn
from cbs_opt.network.targets import find_targets
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.allocation import ALLOCATIONS, n_of_m_quotas, quotas
from cbs_opt.pruning.sensitivity import sensitivities


@pytest.mark.parametrize("kind", ALLOCATIONS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_prunes_as_many_as_asked_for(conv_network, kind, share):
    model, x, _ = conv_network
    weights = Weights.of(model, find_targets(model))
    k = int(share * weights.n)
    found = quotas(kind, model, drawn(x, None, len(x), 0), weights, k, damping=1e-3, dampening_frac=None)
    total = sum(int(quota.sum()) for quota in found.values())
    assert total >= k if kind in ("uniform", "layer") else total == k
    for target in weights.targets:
        segments = target.groups if kind == "layer" else target.outputs
        assert found[target.name].shape == (segments,)
        assert found[target.name].max() <= target.numel // segments


def test_magnitude_counts_the_smallest_weights(conv_network):
    model, x, _ = conv_network
    weights = Weights.of(model, find_targets(model))
    found = quotas("magnitude", model, drawn(x, None, len(x), 0), weights, 40, damping=1e-3, dampening_frac=None)
    threshold = np.sort(np.abs(weights.values))[39]
    for name, matrix in weights.matrices().items():
        assert np.array_equal(found[name], (np.abs(matrix) <= threshold).sum(axis=1))


@pytest.mark.parametrize("kind", ["sensitivity", "magnitude"])
def test_what_is_pruned_already_counts(conv_network, kind):
    model, x, _ = conv_network
    weights = Weights.of(model, find_targets(model))
    mask = np.random.default_rng(0).random(weights.n) < 0.5
    weights = weights.with_values(np.where(mask, weights.values, 0.0), mask)
    found = quotas(
        kind,
        weights.into(model),
        drawn(x, None, len(x), 0),
        weights,
        weights.pruned + 10,
        damping=1e-3,
        dampening_frac=None,
    )
    assert sum(int(quota.sum()) for quota in found.values()) == weights.pruned + 10
    for name, gone in weights.masks().items():
        assert (found[name] >= (~gone).sum(axis=1)).all()


def test_a_row_that_nobody_feels_is_pruned_first(conv_network):
    import torch

    model, x, _ = conv_network
    with torch.no_grad():
        model[7].weight[:, 2] = 0.0  # output 2 of the second convolution reaches nothing
    weights = Weights.of(model, find_targets(model, ignore=["7"]))
    found = quotas("sensitivity", model, drawn(x, None, len(x), 0), weights, 18, damping=1e-3, dampening_frac=None)
    assert found["3"][2] == 18
    assert found["0"].sum() == 0


def test_every_layer_loses_the_same_share(conv_network):
    model, x, _ = conv_network
    weights = Weights.of(model, find_targets(model))
    found = quotas(
        "layer", model, drawn(x, None, len(x), 0), weights, int(0.6 * weights.n), damping=1.0, dampening_frac=None
    )
    for target in weights.targets:
        assert 0 <= found[target.name].sum() - 0.6 * target.numel < target.groups


def test_n_of_m_counts_along_the_input_channels(conv_network):
    model, _, _ = conv_network
    weights = Weights.of(model, find_targets(model, ignore=["0"]))
    found = n_of_m_quotas(weights, 1, 2)
    for target in weights.targets:
        assert found[target.name].tolist() == [1] * (target.numel // 2)
    with pytest.raises(CbsOptError, match=r"1:3: 3 has to divide .* layer 3 has 2, layer 7 has 4;"):
        n_of_m_quotas(weights, 1, 3)
    everything = Weights.of(model, find_targets(model))
    with pytest.raises(
        CbsOptError, match=r"but layer 0 has 1, layer 3 has 2, .*ignore=\['0', '3', '7'\] or --ignore '0,3,7'"
    ):
        n_of_m_quotas(everything, 1, 3)


@pytest.mark.parametrize("method", ["greedy-obs", "magnitude", "sparsegpt", "admm", "swap"])
def test_n_of_m_of_a_convolution_keeps_its_share_at_every_kernel_position(conv_network, method):
    model, x, _ = conv_network
    pruned = cbs_opt.prune(model, x, pattern="1:2", ignore=["0"], method=method, dampening_frac=0.1, seed=0)
    masks = pruned.masks()
    kernel, dense = masks["3.weight"], masks["7.weight"]
    assert kernel.shape == (4, 2, 3, 3)
    assert (kernel.sum(axis=1) == 1).all()
    assert (dense.reshape(3, 2, 2).sum(axis=2) == 1).all()


def test_unknown_allocation_is_named(conv_network):
    model, x, _ = conv_network
    weights = Weights.of(model, find_targets(model))
    with pytest.raises(CbsOptError, match="did you mean uniform"):
        quotas("unifrom", model, drawn(x, None, len(x), 0), weights, 3, damping=1e-3, dampening_frac=None)


def test_sensitivities_are_the_squared_derivatives_of_the_outputs(conv_network):
    """With a single output the random sign drops out, and S is ‖∂output/∂r‖² exactly, here by a Jacobian."""
    import torch

    model, x, _ = conv_network
    single = torch.nn.Sequential(*model[:7], torch.nn.Linear(4, 1)).double().eval()
    found = sensitivities(single, x, find_targets(single))
    images = torch.from_numpy(x).double()
    for position, name in ((0, "0"), (3, "3"), (7, "7")):
        head, tail = single[: position + 1], single[position + 1 :]
        expected = 0.0
        for image in images:
            answer = head(image[None]).detach()
            jacobian = torch.autograd.functional.jacobian(lambda a: tail(a).sum(), answer)[0]  # noqa: B023
            expected = expected + jacobian.square().reshape(len(jacobian), -1).sum(dim=1)
        assert np.allclose(found[name], np.asarray(expected) / len(images), rtol=1e-9), name


def test_a_derivative_that_is_not_finite_names_layer_and_sample(conv_network):
    import torch

    model, x, _ = conv_network
    with torch.no_grad():
        model[7].weight.fill_(3e38)
    with pytest.raises(CbsOptError, match=r"with respect to layer [03] for sample 1\d\d is not finite"):
        sensitivities(model, x, find_targets(model), numbers=np.arange(100, 112))
