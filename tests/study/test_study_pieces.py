"""The blocks of a study against the formulas of their curvatures, and put back where they came from."""

import numpy as np
import pytest
import torch

from cbs_opt.collect import gradients
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.network.data import Data, digits_data
from cbs_opt.network.load import load_network
from cbs_opt.network.samples import accuracy
from cbs_opt.solvers import BUILT_IN
from cbs_opt.study import model_subject
from cbs_opt.study.accuracy import Placed, accuracies

M = 50
MAGNITUDE = next(spec for spec in BUILT_IN if spec.name == "magnitude")


def quiet(words):
    pass


def cut(model, x, y, curvature, **options):
    """All blocks of a network, and the notes."""
    options = {"samples": len(y), "seed": 0, **options}
    subject = model_subject("a network", model, Data(x, y, x, y), curvature, **options)
    pieces = [piece.cut(quiet) for piece in subject.pieces]
    assert sum(len(piece.blocks) for piece in pieces) == subject.blocks
    return subject, [block for piece in pieces for block in piece.blocks], [n for piece in pieces for n in piece.notes]


@pytest.fixture(scope="module")
def model():
    return load_network("digits")


@pytest.fixture(scope="module")
def samples():
    data = digits_data()
    return data.train_x[:M], data.train_y[:M]


def test_fisher_chunks(model, samples):
    _, blocks, _ = cut(model, *samples, {"fc3": "fisher"}, partition=48, dampening_frac=0.1)
    G = gradients(model, *samples, {"fc3.weight": np.arange(160)})["fc3.weight"].rows
    damping = 0.1 * (G**2).mean()
    assert [block.problem.n for block in blocks] == [48, 48, 48, 16]
    assert blocks[1].problem.name == "fc3.weight[48:96]"
    for block in blocks:
        part = slice(block.first, block.first + block.problem.n)
        expected = G[:, part].T @ G[:, part] / M + damping * np.eye(block.problem.n)
        assert block.damping == pytest.approx(damping, rel=1e-12)
        np.testing.assert_allclose(block.problem.curvature.dense(), expected, rtol=1e-10, atol=1e-18)
        np.testing.assert_array_equal(block.problem.w_bar, model.fc3.weight.detach().flatten().numpy()[part])


def test_gram_rows_share_one_curvature(model, samples):
    _, blocks, _ = cut(model, *samples, {"fc2": "gram"}, dampening_frac=0.02)
    fc1 = load_network("digits").double()[:2]
    X = fc1(torch.from_numpy(samples[0]).double()).detach().numpy()
    gram = X.T @ X / M
    expected = gram + 0.02 * gram.diagonal().mean() * np.eye(32)
    assert len(blocks) == 16
    assert len({id(block.problem.curvature) for block in blocks}) == 1
    np.testing.assert_allclose(blocks[0].problem.curvature.dense(), expected, rtol=1e-10)
    np.testing.assert_array_equal(blocks[5].problem.w_bar, model.fc2.weight[5].detach().numpy())


def test_rows_of_grouped_convolutions(skipping, images, labels):
    _, blocks, _ = cut(skipping, images, labels, {"b": "gram"})
    assert [block.problem.n for block in blocks] == [12] * 8
    assert len({id(block.problem.curvature) for block in blocks}) == 4
    np.testing.assert_array_equal(blocks[5].problem.w_bar, skipping.b.weight[5].detach().flatten().numpy())
    assert [block.first for block in blocks] == [12 * row for row in range(8)]


def test_layers_stay_in_order_whatever_their_curvature(model, samples):
    _, blocks, notes = cut(model, *samples, {"fc1": "fisher", "fc2": "gram", "fc3": "fisher"})
    assert [block.group for block in blocks] == ["fc1.weight"] * 64 + ["fc2.weight"] * 16 + ["fc3.weight"] * 5
    assert [note.partition(",")[0] for note in notes] == [
        "fc1.weight: 64 chunks",
        "fc2.weight: 16 rows",
        "fc3.weight: 5 chunks",
    ]


def test_layers_that_do_not_fit_together_are_collected_one_after_the_other(model, samples, monkeypatch):
    layers = {"fc1": "fisher", "fc2": "gram", "fc3": "fisher"}
    together, whole, _ = cut(model, *samples, layers)
    # The gradients of fc1, and three matrices of fc2, fill what there is.
    monkeypatch.setattr("cbs_opt.blocks.settings.MOST_GRADIENTS", 8.0 * M * 2048)
    apart, blocks, _ = cut(model, *samples, layers)
    assert [piece.name for piece in together.pieces] == ["fc1 to fc3"]
    assert [piece.name for piece in apart.pieces] == ["fc1", "fc2 to fc3"]
    for one, other in zip(whole, blocks, strict=True):
        assert one.problem.name == other.problem.name
        np.testing.assert_array_equal(one.problem.curvature.dense(), other.problem.curvature.dense())


def test_dead_layers_are_said_to_be_dead(model, samples):
    nothing = np.zeros_like(samples[0])
    with pytest.raises(InputError, match=r"layer fc1: all its gradients are zero"):
        cut(model, nothing, samples[1], {"fc1": "fisher"})
    _, _, notes = cut(model, nothing, samples[1], {"fc1": "gram"})
    assert notes[1:] == [
        "layer fc1: sees nothing but zeros on these samples (a dead layer)",
        "layer fc1: λ = 1 in place of a fraction of zero",
    ]


def test_dead_inputs_are_damped(model, samples):
    x = samples[0].copy()
    x[:, :40] = 0
    _, blocks, _ = cut(model, x, samples[1], {"fc1": "gram"})
    assert blocks[0].problem.curvature.diagonal()[0] == blocks[0].damping > 0


def test_some_blocks_are_spread_over_the_layer(model, samples):
    subject, blocks, notes = cut(model, *samples, {"fc1": "fisher"}, blocks_per_layer=4)
    assert subject.totals == {"fc1.weight": 64}
    assert [block.first for block in blocks] == [0, 512, 1024, 1536]
    assert notes[0].startswith("fc1.weight: 4 of 64 chunks, fisher of 50 samples, λ = ")
    _, everything, _ = cut(model, *samples, {"fc1": "fisher"})
    for block in blocks:
        same = everything[block.first // 32].problem
        np.testing.assert_array_equal(block.problem.curvature.dense(), same.curvature.dense())


def test_put_back_changes_nothing_else(model, samples):
    """Two outputs of the last layer are silenced, and the accuracy is that of the network without them."""
    x, y = samples
    subject, blocks, _ = cut(model, x, y, {"fc3": "gram"}, blocks_per_layer=2)
    assert [block.first for block in blocks] == [0, 5 * 16]
    nothing = np.zeros(16, dtype=bool)
    other = np.arange(16.0)
    placed = [Placed("fc3.weight", block.first, {"magnitude": (~nothing, other)}) for block in blocks]
    ((name, found),) = accuracies(subject, [MAGNITUDE], placed)
    changed = load_network("digits")
    with torch.no_grad():
        changed.fc3.weight[0] = changed.fc3.weight[5] = torch.arange(16.0)
    assert name == "magnitude"
    assert found.updated == accuracy(changed, x, y) != accuracy(model, x, y)
    assert found.as_trained == accuracy(model, x, y)  # all are kept
    pruned = [Placed("fc3.weight", block.first, {"magnitude": (nothing, np.zeros(16))}) for block in blocks]
    ((_, found),) = accuracies(subject, [MAGNITUDE], pruned)
    with torch.no_grad():
        changed.fc3.weight[0] = changed.fc3.weight[5] = 0.0
    assert found.updated == found.as_trained == accuracy(changed, x, y)
    assert list(accuracies(subject, [MAGNITUDE], pruned[:1])) == []  # a block is missing


@pytest.mark.parametrize(
    ("curvature", "options", "message"),
    [
        ({"fc9": "gram"}, {}, "no such prunable layer; it has fc1, fc2, fc3"),
        ({"fc1": "hessian"}, {}, "there are fisher, gram"),
        ({"fc1": "fisher"}, {"dampening_frac": 0.0}, r"dampening_frac: is 0"),
        ({"fc1": "fisher"}, {"partition": 0}, "partition: is 0"),
        ({"fc1": "fisher"}, {"blocks_per_layer": 0}, "blocks_per_layer: is 0"),
    ],
)
def test_bad_requests(model, samples, curvature, options, message):
    with pytest.raises(CbsOptError, match=message):
        cut(model, *samples, curvature, **options)
