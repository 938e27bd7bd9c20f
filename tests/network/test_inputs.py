"""Samples of several inputs, given by name or in order, and networks that answer with more than a tensor."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import cbs_opt
from cbs_opt.collect import gradient_factor, layer_grams
from cbs_opt.errors import InputError
from cbs_opt.network.inputs import Arrays, Samples, as_samples
from cbs_opt.network.samples import accuracy, batches, class_scores
from cbs_opt.network.targets import find_targets

ANSWERS = {
    "tensor": lambda scores, hidden: scores,
    "tuple": lambda scores, hidden: (scores, hidden),
    "dict": lambda scores, hidden: {"hidden": hidden, "logits": scores},
    "object": lambda scores, hidden: SimpleNamespace(hidden=hidden, logits=scores),
}


class Masked(nn.Module):
    """Tokens to class scores, by the mean of those that the mask keeps."""

    def __init__(self, answer="tensor"):
        super().__init__()
        self.answer = ANSWERS[answer]
        self.embedding = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, tokens, present):
        kept = present.unsqueeze(-1).to(self.up.weight.dtype)
        hidden = torch.relu(self.up(self.embedding(tokens)))
        return self.answer(self.head((hidden * kept).sum(dim=1) / kept.sum(dim=1)), hidden)


class Checking(Masked):
    """The same network, looking at its mask: ``torch.func.vmap`` cannot take it."""

    def forward(self, tokens, present):
        assert int(present.sum()) > 0
        return super().forward(tokens, present)


class Packed(nn.Module):
    """The same network called with one array (m, 2, positions), tokens above masks."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x[:, 0], x[:, 1])


class FromDisk:
    """Samples that are read one by one when they are needed, which is all that ``Samples`` asks for."""

    def __init__(self, read, numbers):
        self.read, self.numbers = read, np.asarray(numbers)

    def __len__(self):
        return len(self.numbers)

    def take(self, which):
        return FromDisk(self.read, self.numbers[which])

    def inputs(self, model):
        parts = [self.read(number) for number in self.numbers]
        return Arrays((), {name: np.stack([part[name] for part in parts]) for name in parts[0]}).inputs(model)


@pytest.fixture
def batch():
    """40 sentences of 5 tokens, the first 1 to 5 of which count."""
    rng = np.random.default_rng(2)
    mask = (np.arange(5) < rng.integers(1, 6, size=40)[:, None]).astype(np.int64)
    return {"tokens": rng.integers(0, 11, size=(40, 5)), "present": mask}


@pytest.fixture
def classes():
    return np.random.default_rng(3).integers(0, 3, size=40)


def seeded(answer="tensor", kind=Masked):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return kind(answer).eval()


def assert_same(found, expected):
    np.testing.assert_array_equal(found.weights.mask, expected.weights.mask)
    np.testing.assert_array_equal(found.weights.values, expected.weights.values)
    assert found.objective == expected.objective
    assert found.weights.pruned > 0


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential", "gauss-newton"])
def test_several_inputs_prune_as_one_array_of_them_does(batch, classes, curvature):
    arguments = {"curvature": curvature, "method": "magnitude", "samples": 30, "bound": False}
    packed = np.stack([batch["tokens"], batch["present"]], axis=1)
    expected = cbs_opt.prune(Packed(seeded()), (packed, classes), 0.5, **arguments)
    for answer in ANSWERS:
        assert_same(cbs_opt.prune(seeded(answer), (batch, classes), 0.5, **arguments), expected)
    tensors = tuple(map(torch.from_numpy, batch.values()))
    assert_same(cbs_opt.prune(seeded(), (tensors, classes), 0.5, **arguments), expected)
    lazy = FromDisk(lambda number: {name: values[number] for name, values in batch.items()}, range(40))
    assert isinstance(lazy, Samples)
    assert_same(cbs_opt.prune(seeded("object"), (lazy, classes), 0.5, **arguments), expected)


def test_labels_can_be_left_out(batch):
    arguments = {"curvature": "gram", "method": "magnitude", "samples": 30, "bound": False}
    by_name = cbs_opt.prune(seeded(), batch, 0.5, **arguments)
    assert_same(cbs_opt.prune(seeded(), (tuple(batch.values()), None), 0.5, **arguments), by_name)


def test_the_layer_gram_is_that_of_the_masked_network(batch):
    """The last layer's inputs, computed with NumPy: means over the tokens that count."""
    model = seeded("object").double()
    found = layer_grams(model, batch, find_targets(model), damping=1.0, batch=7)["head"]
    embedding, W, b = (t.detach().numpy() for t in (model.embedding.weight, model.up.weight, model.up.bias))
    hidden = np.maximum(embedding[batch["tokens"]] @ W.T + b, 0)
    x = np.stack([h[m == 1].mean(axis=0) for h, m in zip(hidden, batch["present"], strict=True)])
    np.testing.assert_allclose(found.gram[0], x.T @ x / 40, rtol=1e-12)


@pytest.mark.parametrize("kind", [Masked, Checking])
def test_gradient_rows_are_those_of_autograd(batch, classes, kind):
    model = seeded("dict", kind).double()
    found = gradient_factor(model, batch, classes, ["up.weight"], precision="float64", average=2)
    assert any("row by row" in note for note in found.notes) == (kind is Checking)
    for row, pair in zip(found.A, found.samples, strict=True):
        scores = model(**{name: torch.from_numpy(values[pair]) for name, values in batch.items()})["logits"]
        loss = nn.functional.cross_entropy(scores, torch.from_numpy(classes[pair]))
        (expected,) = torch.autograd.grad(loss, [model.up.weight])
        np.testing.assert_allclose(row * np.sqrt(20), np.sqrt(2) * expected.numpy().ravel(), rtol=1e-10, atol=1e-14)


def test_accuracy_is_the_share_of_right_answers(batch, classes):
    model = seeded("tuple")
    scores = model(*map(torch.from_numpy, batch.values()))[0].detach().numpy()
    assert accuracy(model, batch, classes, batch=7) == np.mean(scores.argmax(axis=1) == classes)


def test_a_batch_counts_the_numbers_of_all_inputs(batch, monkeypatch):
    from cbs_opt.network import samples as feeding

    monkeypatch.setattr(feeding, "MOST_INPUTS", 30)
    parts = list(batches(seeded(), as_samples(batch)))
    assert [part.stop - part.start for part in parts] == [3] * 13 + [1]


@pytest.mark.parametrize("curvature", ["fisher", "gram", "sequential", "gauss-newton"])
def test_a_bad_sample_of_several_inputs_is_named(batch, classes, curvature):
    """A mask of nothing: a mean over no tokens is 0/0."""
    batch["present"][7] = 0
    words = (
        "sample 7 with respect to" if curvature in ("fisher", "gauss-newton") else "layer head: its input for sample 7"
    )
    with pytest.raises(InputError, match=words):
        cbs_opt.prune(seeded(), (batch, classes), 0.5, curvature=curvature, method="magnitude", samples=40)


def test_inputs_that_are_no_samples_are_refused(batch, classes):
    arguments = {"curvature": "gram", "method": "magnitude", "samples": 10}
    holed = {**batch, "present": batch["present"].astype(np.float32)}
    holed["present"][9, 1] = holed["present"][5, 2] = np.nan
    for data, words in (
        ({**batch, "present": batch["present"][:39]}, "data: the network's inputs hold 40, 39 samples"),
        (holed, "data: sample 5 is not finite"),
        (
            {"tokens": batch["tokens"], "mask": batch["present"]},
            r"of shapes tokens \(5,\), mask \(5,\) .*'mask'",
        ),
        (batch["tokens"], r"of shape \(5,\) .*'present'"),
        ({}, "data: is a dict"),
        ({"tokens": batch["tokens"], "present": None}, "data: is a dict"),
        ((batch, classes[:39]), "40 samples and 39 labels"),
    ):
        with pytest.raises(InputError, match=words):
            cbs_opt.prune(seeded(), data, 0.5, **arguments)


def test_answers_without_class_scores_are_refused():
    for answer in ({"a": torch.ones(2, 3), "b": torch.ones(2, 3)}, (), None, (None, torch.ones(2, 3))):
        with pytest.raises(InputError, match=f"has shape {type(answer).__name__}"):
            class_scores(answer)
    with pytest.raises(InputError, match=r"has shape \(2,\)"):
        class_scores({"only": torch.ones(2)})
