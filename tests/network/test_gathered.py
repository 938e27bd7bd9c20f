"""Samples that come in batches: the same as the arrays they were cut from."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from cbs_opt.errors import InputError
from cbs_opt.network.data import calibration
from cbs_opt.network.gathered import comes_in_batches, gathered

X = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
Y = np.arange(10) % 4
TOKENS = np.random.default_rng(0).integers(1, 50, (10, 6))
LOADERS: dict[str, Any] = {
    "loader of pairs": DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4),
    "data set": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "list of pairs": [(X[:4], Y[:4]), (X[4:], Y[4:])],
    "generator": ((X[i : i + 3], Y[i : i + 3]) for i in range(0, 10, 3)),
}


class Encoding(UserDict):  # type: ignore[type-arg]
    """What a tokenizer returns: a mapping, but no dict."""


@pytest.mark.parametrize("kind", LOADERS)
def test_pairs_come_back_whole(kind: str) -> None:
    assert comes_in_batches(LOADERS[kind])
    samples, labels = gathered(LOADERS[kind])
    np.testing.assert_array_equal(samples.positional[0], X)
    np.testing.assert_array_equal(labels, Y)


@pytest.mark.parametrize("given", [X, torch.from_numpy(X), (X, Y), {"a": X}, "text"])
def test_samples_themselves_are_no_batches(given: Any) -> None:
    assert not comes_in_batches(given)


def test_dicts_with_and_without_labels() -> None:
    batches = [Encoding(input_ids=torch.from_numpy(TOKENS[i : i + 5]), labels=Y[i : i + 5]) for i in (0, 5)]
    samples, labels = calibration(batches, needs_labels=False)
    np.testing.assert_array_equal(samples.named["input_ids"], TOKENS)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(labels, Y)
    samples, labels = calibration(Encoding(input_ids=TOKENS, labels=Y))
    assert list(samples.named) == ["input_ids"]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(labels, Y)
    samples, labels = calibration([{"input_ids": TOKENS}], needs_labels=False)
    assert labels is None


def test_sequences_are_padded_where_a_mask_says_so() -> None:
    batches = [
        {"input_ids": TOKENS[:4, :6], "attention_mask": np.ones((4, 6), dtype=int)},
        {"input_ids": TOKENS[4:, :2], "attention_mask": np.ones((6, 2), dtype=int)},
    ]
    samples, _ = gathered(batches)
    assert samples.named["input_ids"].shape == (10, 6)
    np.testing.assert_array_equal(samples.named["attention_mask"].sum(axis=1), [6] * 4 + [2] * 6)
    assert not samples.named["input_ids"][4:, 2:].any()
    with pytest.raises(InputError, match=r"shapes \(2,\), \(6,\) after the first dimension"):
        gathered([{"input_ids": batch["input_ids"]} for batch in batches])


def test_no_more_batches_are_asked_for_than_needed() -> None:
    def batches() -> Any:
        yield X[:4], Y[:4]
        yield X[4:7], Y[4:7]
        raise AssertionError("a third batch was asked for")

    samples, _ = gathered(batches(), most=5)
    assert len(samples) == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "holds no batches"),
        ([(X, Y[:3])], "batch 0: has 10 samples and 3 labels"),
        ([(X, Y), X], "batch 1 holds other things than batch 0"),
        (["text"], "batch 0: is a str"),
        (7, "data: is a int"),
    ],
)
def test_what_cannot_be_read(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibration(given)
