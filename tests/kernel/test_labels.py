"""Labels of any kind: the laws of patterns, and N:M of convolution kernels along input channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cbs_opt import Labels
from cbs_opt.errors import PatternError
from cbs_opt.testing import check_pattern


@pytest.mark.parametrize("seed", range(8))
def test_the_laws_of_patterns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(3), rng.integers(0, 3, 4)]))
    keep, forbid = [int(rng.integers(7))], [int(rng.integers(7))]
    forced = np.bincount(labels[keep], minlength=3)
    prune = rng.integers(0, np.bincount(labels) - forced + 1)
    check_pattern(Labels(labels, prune, keep=keep, forbid=[] if keep == forbid else forbid), seed, draws=4)


def test_n_of_m_of_kernels_runs_along_the_input_channels_at_each_position() -> None:
    pattern = Labels.n_of_m_channels((2, 8, 3, 3), 2, 4)
    z = pattern.argmax(np.random.default_rng(0).random(pattern.n)).reshape(2, 2, 4, 3, 3)
    assert (z.sum(axis=2) == 2).all()
    assert (z.reshape(2, 8, 9).sum(axis=2) != 4).any()  # a kernel as a whole may keep what it likes
    assert str(pattern) == "prune at least 2 of the 4 weights of each of 36 labels"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Labels([0, 2], 1), "labels: no weight is in group 1"),
        (lambda: Labels([0, 1], [1]), "prune: has 1 quotas for 2 labels"),
        (lambda: Labels([0, 1, 1], [0, 3]), "prune: is 3 for label 1; a number between 0 and its 2 weights"),
        (lambda: Labels([0, 1, 1], 1, keep=[1, 2]), "keep: 2 weights of label 1 are forced to stay, but"),
        (lambda: Labels.n_of_m_channels((2, 6, 3, 3), 2, 4), "4 does not divide the 6 input channels"),
        (lambda: Labels.n_of_m_channels((8,), 2, 4), "has no input channels"),
        (lambda: Labels.n_of_m_channels((2, 8), 5, 4), "N:M keeps N of M"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        make()
