"""Several stages: each begins with what the one before left."""

import numpy as np
import pytest

import cbs_opt
from cbs_opt.collect import gradients
from cbs_opt.errors import InputError
from cbs_opt.pruning.schedule import sparsities


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential", "gauss-newton"])
def test_what_one_stage_pruned_stays_pruned(digits_network, digits, curvature):
    """The first of two stages is the same run with its sparsity alone: same draw, same network."""
    arguments = {"curvature": curvature, "method": "magnitude", "samples": 100, "damping": 1e-2, "bound": False}
    first_share, share = sparsities(0.8, 2, "linear")
    first = cbs_opt.prune(digits_network, digits, first_share, **arguments)
    found = cbs_opt.prune(digits_network, digits, share, stages=2, schedule="linear", **arguments)
    assert found.stages[0].objective == pytest.approx(first.objective, rel=1e-9)
    assert found.weights.pruned == 2176
    assert not (found.weights.mask & ~first.weights.mask).any()
    assert found.stages[-1].quality == found.accuracy


@pytest.mark.parametrize("first_order", [False, True])
def test_fisher_of_the_second_stage_is_that_of_the_network_the_first_left(digits_network, digits, first_order):
    """f of the second stage from float64 gradients at the first stage's network, on the second draw."""
    m, lam, seed = 40, 1e-2, 5
    arguments = {
        "curvature": "fisher",
        "method": "magnitude",
        "damping": lam,
        "samples": m,
        "precision": "float64",
        "seed": seed,
        "first_order": first_order,
    }
    first = cbs_opt.prune(digits_network, digits, 0.3, **arguments)
    found = cbs_opt.prune(digits_network, digits, 0.6, stages=2, schedule="linear", **arguments)
    chosen = np.random.default_rng(seed + 1).permutation(len(digits.train_x))[:m]
    entries = {t.tensor: np.arange(t.numel) for t in found.weights.targets}
    rows = gradients(first.model, digits.train_x[chosen], digits.train_y[chosen], entries)
    G = np.concatenate([rows[name].rows for name in entries], axis=1)
    d = found.weights.values - first.weights.values
    assert not d[~first.weights.mask].any()
    expected = 0.5 * ((G @ d) ** 2).mean() + 0.5 * lam * d @ d + (G.mean(axis=0) @ d if first_order else 0.0)
    # The network holds the first stage's weights in float32, the problem in float64.
    assert found.objective == pytest.approx(expected, rel=1e-5)
    assert found.bound <= found.objective


def test_revive_takes_weights_back(digits_network, digits):
    arguments = {"curvature": "sequential", "samples": 300, "damping": 1e-2, "bound": False}
    first = cbs_opt.prune(digits_network, digits, 0.8, **arguments)
    again = cbs_opt.prune(digits_network, digits, 0.8, settle=1, **arguments)
    assert np.array_equal(again.weights.mask, first.weights.mask)
    revived = cbs_opt.prune(digits_network, digits, 0.8, settle=1, revive=True, **arguments)
    assert (revived.weights.mask & ~first.weights.mask).any()
    assert revived.weights.pruned == 2176


def test_stages_that_have_nothing_left_to_prune_are_left_out(digits_network, digits):
    found = cbs_opt.prune(digits_network, digits, 1.0, method="magnitude", samples=50, stages=3, schedule="exponential")
    assert len(found.stages) == 1
    assert found.sparsity == 1.0
    assert any("2 of 3 stages were left out" in note for note in found.notes)


def test_progress_names_the_stage(digits_network, digits):
    told: list[str] = []
    arguments = {"method": "magnitude", "samples": 50, "bound": False, "progress": told.append}
    cbs_opt.prune(digits_network, digits, 0.5, stages=2, **arguments)
    assert any(words.startswith("stage 2 of 2: ") and ": collecting" in words for words in told)
    told.clear()
    cbs_opt.prune(digits_network, digits, 0.5, **arguments)
    assert told
    assert not any("stage" in words for words in told)


def test_reestimated_statistics_are_those_of_all_samples(conv_network):
    """Batches of unequal size, and a last one of a single sample, which has no variance of its own."""
    import torch

    from cbs_opt.network import samples as feeding
    from cbs_opt.pruning.batchnorm import reestimate

    _, x, _ = conv_network
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 5), torch.nn.BatchNorm1d(5)).eval()
    before = feeding.MOST_INPUTS
    try:
        feeding.MOST_INPUTS = 36 * 5  # 12 samples: batches of 5, 5 and 2; 11 samples: 5, 5 and 1
        for m in (12, 11):
            assert reestimate(flat, x[:m]) == 1
            answers = flat[:2](torch.from_numpy(x[:m])).detach()
            assert torch.allclose(flat[2].running_mean, answers.mean(dim=0), atol=1e-6)
            assert flat[2].momentum == 0.1
            assert not flat.training
    finally:
        feeding.MOST_INPUTS = before


@pytest.mark.gpu
@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential", "gauss-newton"])
def test_on_the_gpu(digits_network, digits, curvature):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    arguments = {"curvature": curvature, "samples": 200, "damping": 1e-2, "stages": 2}
    here = cbs_opt.prune(digits_network, digits, 0.7, **arguments)
    there = cbs_opt.prune(digits_network, digits, 0.7, device="cuda", **arguments)
    assert there.weights.pruned == 1904
    assert there.bound <= there.objective
    assert there.objective == pytest.approx(here.objective, rel=0.05)
    assert next(digits_network.parameters()).device.type == "cpu"


def test_statistics_that_overflow_name_their_layer(conv_network):
    from cbs_opt.pruning.batchnorm import reestimate

    model, x, _ = conv_network
    x[3] *= 1e30
    with pytest.raises(InputError, match=r"layer 1: its batch-normalization statistics .* are not finite"):
        reestimate(model, x)
