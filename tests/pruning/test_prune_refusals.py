"""What `prune` refuses, and in which words."""

import copy

import numpy as np
import pytest
from network_state import state

import cbs_opt
from cbs_opt.errors import CbsOptError, NotPositiveDefiniteError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"curvature": "fischer"}, "did you mean fisher"),
        ({"method": "bnbb"}, "did you mean bnb"),
        ({"samples": 0}, "samples"),
        ({"targets": ["conv*"]}, "fc1, fc2, fc3"),
        ({"partition": 0}, "partition"),
        ({"curvature": "sequential", "first_order": True}, "first_order"),
        ({"curvature": "fisher", "allocation": "uniform"}, "allocation"),
        ({"damping": 1e-3, "dampening_frac": 1e-3}, "exactly one"),
        ({"sparsity": 1.2}, "sparsity"),
        ({"method": "swap", "options": {"speed": 1}}, "speed"),
        ({"method": "swap", "options": {"seed": 1}}, "seed"),
        ({"method": "swap", "options": [1]}, "mapping"),
        ({"options": {"sweeps": 1}}, "belong to a method"),
        ({"partition": "row"}, "partition: belongs to the curvature fisher"),
        ({"method": "relaxation"}, "curvature fisher"),
        ({"device": "cdua"}, "device"),
        ({"seed": -1}, "seed"),
        ({"sparsity": "0.5"}, "sparsity"),
        ({"average": 51, "curvature": "fisher"}, "average"),
        ({"damping": 0.0, "curvature": "fisher"}, "fisher needs a damping > 0"),
        ({"damping": -1.0, "curvature": "gauss-newton"}, "damping"),
        ({"damping": float("nan"), "curvature": "gauss-newton"}, "damping"),
        ({"precision": "float16"}, "float32 and float64"),
        ({"precision": "float64", "curvature": "sequential"}, "precision"),
        ({"revive": True, "curvature": "gauss-newton"}, "revive"),
        ({"reestimate_batchnorm": True}, "no batch normalization"),
        ({"stages": 0}, "stages"),
    ],
)
def test_wrong_arguments_are_one_clear_sentence(digits_network, digits, arguments, words):
    before = state(digits_network)
    with pytest.raises(CbsOptError, match=words):
        cbs_opt.prune(digits_network, digits, **{"sparsity": 0.5, "samples": 50, **arguments})
    assert all(bool((tensor == before[name]).all()) for name, tensor in digits_network.state_dict().items())


def test_bad_samples_and_weights_are_named(digits_network, digits):
    import torch

    with pytest.raises(CbsOptError, match="labels"):
        cbs_opt.prune(digits_network, digits.train_x, 0.5, curvature="fisher", samples=50)
    broken = copy.deepcopy(digits_network)
    with torch.no_grad():
        broken.get_parameter("fc2.weight")[0, 0] = np.nan
    with pytest.raises(CbsOptError, match=r"fc2\.weight"):
        cbs_opt.prune(broken, digits, 0.5, samples=50)
    x = digits.train_x[:20].copy()
    x[7] = np.inf
    with pytest.raises(CbsOptError, match="sample"):
        cbs_opt.prune(digits_network, (x, digits.train_y[:20]), 0.5, samples=20)
    with pytest.raises(CbsOptError, match="agree"):
        cbs_opt.prune(digits_network, (digits.train_x[:20], digits.train_y[:19]), 0.5, samples=10)


@pytest.mark.parametrize(
    ("curvature", "words"),
    [
        ("fisher", r"gradient of sample 7 with respect to fc\d\.weight is not finite"),
        ("gauss-newton", r"gradient of sample 7 with respect to fc\d\.weight is not finite"),
        ("gram", "layer fc2: its input for sample 7 is not finite"),
        ("sequential", "layer fc2: its input for sample 7 is not finite"),
    ],
)
def test_a_bad_sample_is_named_as_the_user_numbers_it(digits_network, digits, curvature, words):
    before = state(digits_network)
    x, y = digits.train_x[:50].copy(), digits.train_y[:50]
    x[7] = 3e38
    for samples in (50, 40):
        with pytest.raises(CbsOptError, match=words):
            cbs_opt.prune(digits_network, (x, y), 0.5, curvature=curvature, samples=samples, seed=1)
    assert all(np.array_equal(before[name], tensor) for name, tensor in digits_network.state_dict().items())


@pytest.mark.parametrize("curvature", ["gram", "sequential"])
@pytest.mark.parametrize("allocation", ["sensitivity", "uniform"])
def test_a_damping_too_small_for_huge_inputs_names_the_layer(digits_network, digits, curvature, allocation):
    """The squares of 1e30 are no float32, but float64 takes them."""
    x = digits.train_x[:50].copy()
    x[7] *= 1e30
    with pytest.raises(NotPositiveDefiniteError, match=r"layer fc1: H: not positive definite with the damping 0.001"):
        cbs_opt.prune(digits_network, x, 0.5, curvature=curvature, allocation=allocation, samples=50, damping=1e-3)


def test_a_dead_layer_is_said_and_can_be_pruned(digits_network, digits):
    import torch

    dead = copy.deepcopy(digits_network)
    with torch.no_grad():
        dead.get_parameter("fc1.weight").zero_()
        dead.get_parameter("fc1.bias").fill_(-1.0)
    found = cbs_opt.prune(dead, digits, 0.9, curvature="fisher", method="relaxation", samples=50, damping=1e-3)
    assert [note for note in found.notes if "dead layer" in note] == [
        f"{name}.weight: all its gradients are zero on these samples (a dead layer)" for name in ("fc1", "fc2")
    ]
    assert found.weights.pruned == 2448
    assert found.bound <= found.objective


@pytest.mark.parametrize("curvature", ["fisher", "gauss-newton"])
def test_labels_are_checked(digits_network, digits, curvature):
    x, y = digits.train_x[:50], digits.train_y[:50]
    for labels, words in (
        (np.where(np.arange(50) == 7, 10, y), "10 outputs"),
        (np.where(np.arange(50) == 7, -1, y), "10 outputs"),
        (y + 0.7, "whole number"),
        (np.eye(10)[y], "whole number"),
        (y[:, None], "whole number"),
    ):
        with pytest.raises(CbsOptError, match=words):
            cbs_opt.prune(digits_network, (x, labels), 0.5, curvature=curvature, method="magnitude", samples=50)
    found = cbs_opt.prune(
        digits_network, (x, y.astype(np.int32)), 0.5, curvature=curvature, method="magnitude", samples=50, bound=False
    )
    assert found.weights.pruned == 1360


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential", "gauss-newton"])
def test_samples_that_do_not_fit_are_one_clear_sentence(digits_network, digits, curvature):
    import torch

    x, y = digits.train_x[:50], digits.train_y[:50]
    holed = x.copy()
    holed[7, 3] = np.nan
    for data, words in (
        ((x[:, :30], y), "cannot take samples"),
        ([x, y], "is a list of samples and labels"),
        (None, "NoneType"),
        ((holed, y), "sample 7 "),
        ((x[:0], y[:0]), "samples"),
        (torch.utils.data.TensorDataset(torch.from_numpy(holed), torch.from_numpy(y)), "sample 7 "),
        (torch.nn.Linear(2, 2), "is a Linear"),
    ):
        with pytest.raises(CbsOptError, match=words):
            cbs_opt.prune(digits_network, data, 0.5, curvature=curvature, method="magnitude", samples=50)
    with pytest.raises(CbsOptError, match=r"torch\.nn\.Module"):
        cbs_opt.prune("digits", (x, y), 0.5, curvature=curvature)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "bnb", "curvature": "fisher"}, "at most 1000 weights"),
        ({"method": "block-swap", "curvature": "fisher", "partition": "layer"}, "block-diagonal"),
        ({"method": "relaxation", "curvature": "gram"}, "rows curvature"),
        ({"method": "cbs", "curvature": "sequential"}, "Quotas"),
    ],
)
def test_a_method_that_cannot_take_the_problem_is_refused_before_the_work(digits_network, digits, arguments, words):
    told: list[str] = []
    with pytest.raises(CbsOptError, match=words):
        cbs_opt.prune(digits_network, digits, 0.5, samples=50, progress=told.append, **arguments)
    assert not told


def test_weights_that_are_computed_are_named(digits_network, digits):
    import torch
    from torch.nn.utils import parametrize, prune

    masked = copy.deepcopy(digits_network)
    prune.l1_unstructured(masked.fc2, "weight", amount=0.5)
    with pytest.raises(CbsOptError, match=r"layer fc2: its weight is no parameter .*torch\.nn\.utils\.prune\.remove"):
        cbs_opt.prune(masked, digits, 0.9, samples=50)
    other = copy.deepcopy(digits_network)
    parametrize.register_parametrization(other.fc2, "weight", torch.nn.ReLU())
    with pytest.raises(CbsOptError, match=r"layer fc2: in the pruned network .*remove_parametrizations does"):
        cbs_opt.certify_layers(digits_network, other, digits, samples=50)
    del other.fc2
    with pytest.raises(CbsOptError, match=r"fc2\.weight: is not in the pruned network"):
        cbs_opt.certify_layers(digits_network, other, digits, samples=50)
