"""Whole networks, end to end, against quantities computed otherwise."""

import copy
import itertools

import numpy as np
import pytest
from network_state import state

import cbs_opt
from cbs_opt.collect import gradients
from cbs_opt.errors import CbsOptError
from cbs_opt.network.data import Data
from cbs_opt.network.targets import Target, find_targets
from cbs_opt.network.weights import Weights


@pytest.mark.parametrize("partition", ["network", "layer", "row", 100])
@pytest.mark.parametrize("first_order", [False, True])
def test_fisher_objective_is_that_of_the_explicit_matrix(digits_network, digits, partition, first_order):
    """f(w) from float64 gradients of all weights, block by block."""
    m, lam = 60, 1e-2
    data = (digits.train_x[:m], digits.train_y[:m])
    found = cbs_opt.prune(
        digits_network,
        data,
        0.7,
        curvature="fisher",
        method="magnitude",
        samples=m,
        damping=lam,
        partition=partition,
        first_order=first_order,
        precision="float64",
        seed=1,
    )
    names = [t.tensor for t in found.weights.targets]
    sizes = [t.numel for t in found.weights.targets]
    rows = gradients(digits_network, *data, {n: np.arange(s) for n, s in zip(names, sizes, strict=True)})
    G = np.concatenate([rows[name].rows for name in names], axis=1)
    w_bar = np.concatenate([digits_network.get_parameter(n).detach().double().numpy().ravel() for n in names])
    d = found.weights.values - w_bar
    cuts = {0, sum(sizes)}
    for t, end in zip(found.weights.targets, np.cumsum(sizes), strict=True):
        size = {"network": sum(sizes), "layer": t.numel, "row": t.inputs}.get(partition, partition)
        if partition != "network":
            cuts |= {*range(int(end) - t.numel, int(end), size), int(end)}
    edges = sorted(cuts)
    quadratic = sum(((G[:, a:b] @ d[a:b]) ** 2).sum() for a, b in itertools.pairwise(edges)) / m
    linear = G.mean(axis=0) @ d if first_order else 0.0
    assert found.objective == pytest.approx(linear + 0.5 * quadratic + 0.5 * lam * d @ d, rel=1e-6)
    assert found.bound <= found.objective
    assert found.weights.pruned == 1904


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential", "gauss-newton"])
def test_the_given_network_stays_and_the_zeros_are_where_the_masks_say(digits_network, digits, curvature):
    before = state(digits_network)
    found = cbs_opt.prune(
        digits_network, digits, 0.6, curvature=curvature, method="magnitude", samples=200, damping=1e-2, bound=False
    )
    assert all(bool((tensor == before[name]).all()) for name, tensor in digits_network.state_dict().items())
    tensors = found.model.state_dict()
    for name, mask in found.masks().items():
        assert mask.shape == tuple(tensors[name].shape)
        assert not tensors[name].numpy()[~mask].any()
    assert sum(int((~mask).sum()) for mask in found.masks().values()) == found.weights.pruned == 1632
    others = set(tensors) - set(found.masks())
    assert others
    assert all(bool((tensors[name] == before[name]).all()) for name in others)


def test_sequential_objective_is_the_change_of_the_last_layers_outputs(digits_network, digits):
    """f of the last layer = mean ½‖logits − dense logits‖² + λ/2‖w − w̄‖², from two forward passes."""
    import torch

    x = digits.train_x[:300]
    found = cbs_opt.prune(digits_network, x, 0.7, curvature="sequential", samples=300, damping=1e-2, ignore=["fc1"])
    images = torch.from_numpy(x)
    change = (found.model(images) - digits_network(images)).double()
    last = found.weights.targets[-1]
    w_bar = digits_network.get_parameter(last.tensor).detach().double().numpy().ravel()
    d = found.weights.matrices()[last.name].ravel() - w_bar
    expected = float(change.detach().square().sum()) / (2 * 300) + 0.5 * 1e-2 * d @ d
    assert found.layers[-1].objective == pytest.approx(expected, rel=1e-4)
    assert all(layer.bound <= layer.objective for layer in found.layers)
    assert 0 < found.bound <= found.objective


def test_layer_by_layer_beats_magnitude_without_update(digits_network, digits):
    found = cbs_opt.prune(digits_network, digits, 0.8, curvature="sequential", samples=1000, bound=False)
    plain = cbs_opt.prune(
        digits_network, digits, 0.8, curvature="fisher", damping=1e-3, method="magnitude", samples=200, bound=False
    )
    assert found.accuracy > plain.accuracy
    assert found.accuracy_dense > 0.95


def test_masks_of_torch_prune(digits_network, digits):
    import torch

    found = cbs_opt.prune(digits_network, digits, 0.5, method="magnitude", samples=100, bound=False)
    masked = found.attach_masks()
    names = {name for name, _ in masked.named_buffers()}
    assert {f"{t.name}.weight_mask" for t in found.weights.targets} <= names
    x = torch.from_numpy(digits.test_x[:50])
    assert torch.equal(masked(x), found.model(x))


def test_files_hold_the_networks_own_names(digits_network, digits, tmp_path):
    from safetensors.numpy import load_file

    from cbs_opt.network.load import load_network

    found = cbs_opt.prune(digits_network, digits, 0.5, method="magnitude", samples=100, bound=False)
    found.save(tmp_path / "p.safetensors")
    found.save_masks(tmp_path / "m.safetensors")
    again = load_network("digits", tmp_path / "p.safetensors")
    assert all(bool((a == b).all()) for a, b in zip(again.parameters(), found.model.parameters(), strict=True))
    masks = load_file(tmp_path / "m.safetensors")
    assert all(np.array_equal(masks[name], mask) for name, mask in found.masks().items())
    with pytest.raises(CbsOptError, match="safetensors"):
        found.save(tmp_path / "p.pt")


@pytest.mark.parametrize("average", [1, 2, 4])
def test_averaged_rows_keep_the_mean_gradient(digits_network, digits, average):
    """f = gᵀd + ½(mean of (row·d)²) + ½λdᵀd: g from one backward pass over all samples."""
    import torch

    from cbs_opt.collect import gradient_factor

    m, lam, seed = 24, 1e-2, 3
    x, y = digits.train_x[:m], digits.train_y[:m]
    found = cbs_opt.prune(
        digits_network,
        (x, y),
        0.6,
        curvature="fisher",
        samples=m,
        average=average,
        first_order=True,
        damping=lam,
        precision="float64",
        method="magnitude",
        seed=seed,
        bound=False,
    )
    targets, double = found.weights.targets, copy.deepcopy(digits_network).double()
    parameters = [double.get_parameter(t.tensor) for t in targets]

    def gradient(chosen):
        logits = double(torch.from_numpy(x[chosen]).double())
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[chosen]))
        return torch.cat([g.ravel() for g in torch.autograd.grad(loss, parameters)]).numpy()

    order = np.random.default_rng(seed).permutation(m)
    groups = gradient_factor(
        digits_network, x[order], y[order], targets, rows=m // average, average=average, seed=seed, precision="float64"
    ).samples
    d = found.weights.values - np.concatenate([p.detach().numpy().ravel() for p in parameters])
    rows = np.stack([np.sqrt(average) * gradient(order[group]) for group in groups])
    expected = gradient(np.arange(m)) @ d + 0.5 * ((rows @ d) ** 2).mean() + 0.5 * lam * d @ d
    assert found.objective == pytest.approx(expected, rel=1e-8)


def test_samples_that_fill_no_row_are_said(digits_network, digits):
    arguments = {"curvature": "fisher", "method": "magnitude", "samples": 60, "bound": False}
    found = cbs_opt.prune(digits_network, digits, 0.5, average=7, **arguments)
    assert any("4 of the 60 samples are not used" in note for note in found.notes)
    exact = cbs_opt.prune(digits_network, digits, 0.5, average=6, **arguments)
    assert not any("not used" in note for note in exact.notes)


def test_convolutions_with_groups(conv_network):
    model, x, y = conv_network
    for curvature in ("gram", "sequential", "fisher"):
        found = cbs_opt.prune(model, (x, y), 0.5, curvature=curvature, samples=12, method="magnitude", damping=1e-2)
        assert found.weights.pruned == 60
        assert found.bound <= found.objective


def test_batchnorm_is_estimated_only_when_asked(conv_network):
    model, x, _y = conv_network
    arguments = {"curvature": "sequential", "samples": 12, "method": "magnitude", "bound": False}
    as_it_was = cbs_opt.prune(model, x, 0.5, **arguments)
    anew = cbs_opt.prune(model, x, 0.5, reestimate_batchnorm=True, **arguments)
    import torch

    assert torch.equal(as_it_was.model[1].running_mean, model[1].running_mean)
    order = np.random.default_rng(0).permutation(12)
    inputs = anew.model[0](torch.from_numpy(x[order])).detach()
    assert torch.allclose(anew.model[1].running_mean, inputs.mean(dim=(0, 2, 3)), atol=1e-6)
    assert not anew.model.training
    assert any("1 batch-normalization layer took new running means and variances" in note for note in anew.notes)


def test_a_sparsity_that_empties_a_layer_is_allowed_and_said(digits_network, digits):
    found = cbs_opt.prune(digits_network, digits, 1.0, method="magnitude", samples=50, bound=False)
    assert found.sparsity == 1.0
    assert any("fc1" in note and "all its" in note for note in found.notes)


def test_same_seed_same_masks(digits_network, digits):
    arguments = {"method": "magnitude", "samples": 100, "bound": False, "curvature": "sequential"}
    a, b, c = (cbs_opt.prune(digits_network, digits, 0.7, seed=seed, **arguments) for seed in (3, 3, 4))
    assert np.array_equal(a.weights.values, b.weights.values)
    assert not np.array_equal(a.weights.values, c.weights.values)


def test_data_without_a_test_part_gives_no_accuracy(digits_network, digits):
    assert isinstance(digits, Data)
    found = cbs_opt.prune(digits_network, (digits.train_x, digits.train_y), 0.5, method="magnitude", samples=50)
    assert found.accuracy is None
    assert found.accuracy_dense is None


def test_accuracy_on_the_samples_of_the_curvature_is_said(digits_network, digits):
    """A data file with x and y alone serves as both, and the note says so."""
    x, y = digits.train_x[:60], digits.train_y[:60]
    note = "the same samples serve for curvature and accuracy"
    same = cbs_opt.prune(digits_network, Data(x, y, x.copy(), y.copy()), sparsity=0.5, method="magnitude", bound=False)
    assert note in same.notes
    assert note not in cbs_opt.prune(digits_network, digits, sparsity=0.5, method="magnitude", bound=False).notes


def test_a_pattern_in_place_of_a_sparsity(digits_network, digits):
    for curvature in ("gram", "sequential"):
        arguments = {"curvature": curvature, "method": "admm", "samples": 100, "targets": ["fc2", "fc3"]}
        found = cbs_opt.prune(digits_network, digits, pattern="2:4", **arguments)
        assert found.sparsity == 0.5
        for layer in ("fc2", "fc3"):
            kept = found.masks()[f"{layer}.weight"]
            assert kept.reshape(len(kept), -1, 4).sum(axis=2).max() == 2
        assert 0 < found.bound <= found.objective
    for wrong, message in (
        ({"sparsity": 0.5, "pattern": "2:4"}, "give exactly one"),
        ({}, "give exactly one"),
        ({"pattern": "2:4", "stages": 2}, "in one stage"),
        ({"pattern": "2:4", "allocation": "layer"}, "allocation: has no meaning"),
        ({"pattern": "4:2"}, "N ≤ M"),
    ):
        with pytest.raises(CbsOptError, match=message):
            cbs_opt.prune(digits_network, digits, curvature="sequential", **wrong)
    with pytest.raises(CbsOptError, match="pattern: belongs to the curvature gram, sequential"):
        cbs_opt.prune(digits_network, digits, pattern="2:4", curvature="fisher")


def test_batches_and_a_test_set_of_their_own(digits_network, digits):
    arguments = {"curvature": "gram", "method": "magnitude", "bound": False}
    expected = cbs_opt.prune(digits_network, digits, 0.5, samples=100, **arguments)
    batches = [(digits.train_x[i : i + 50], digits.train_y[i : i + 50]) for i in range(0, len(digits.train_x), 50)]
    test = [(digits.test_x, digits.test_y)]
    found = cbs_opt.prune(digits_network, batches[:2], 0.5, test=test, **arguments)
    assert found.settings["samples"] == 100
    assert found.accuracy_dense == expected.accuracy_dense
    assert found.sparsity == expected.sparsity
    with pytest.raises(CbsOptError, match="test: has no labels, without which there is no accuracy"):
        cbs_opt.prune(digits_network, batches, 0.5, test=digits.test_x, **arguments)


def test_method_and_allocation_by_size(digits_network):
    from cbs_opt.pruning.settings import Settings

    weights = Weights.of(digits_network, find_targets(digits_network))
    small = Settings(curvature="sequential").chosen_for(weights)
    assert (small.method, small.allocation) == ("swap", "sensitivity")
    wide = Weights((Target("up", "up.weight", "linear", (1536, 8192)),), np.ones(1), np.ones(1, dtype=bool))
    large = Settings(curvature="sequential").chosen_for(wide)
    assert (large.method, large.allocation) == ("admm", "layer")
    asked = Settings(curvature="sequential", method="sparsegpt", allocation="uniform").chosen_for(wide)
    assert (asked.method, asked.allocation) == ("sparsegpt", "uniform")
    fisher = Settings(curvature="fisher").chosen_for(wide)
    assert (fisher.method, fisher.bound) == ("relaxation", True)  # its bound is cheap whatever the size
    assert (small.bound, large.bound, asked.bound) == (True, False, False)
    assert [Settings(curvature="gram", bound=b).chosen_for(wide).bound for b in (True, False)] == [True, False]


def test_a_bound_that_is_left_out_by_size_is_said(digits_network, digits, monkeypatch):
    from cbs_opt.pruning import settings

    monkeypatch.setattr(settings, "LARGE", 1.0)
    arguments = {"curvature": "sequential", "samples": 50}
    found = cbs_opt.prune(digits_network, digits, 0.5, **arguments)
    note = "the bound was not asked for: the network is large; bound=True (--bound) proves one"
    assert note in found.notes
    told = found.to_dict()
    assert (told["bound"], told["gap"], told["bound_asked"]) == (None, None, False)
    assert [(layer["bound"], layer["gap"]) for layer in told["layers"]] == [(None, None)] * 3
    for bound in (True, False):
        asked = cbs_opt.prune(digits_network, digits, 0.5, bound=bound, **arguments)
        assert note not in asked.notes
        assert asked.to_dict()["bound_asked"] is bound
        assert np.isfinite(asked.bound) == bound
