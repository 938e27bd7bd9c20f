"""The masks a certificate is about: the pattern's own, said in arrays that are what they claim to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cbs_opt import Cardinality, PruningProblem, Quotas
from cbs_opt.errors import PatternError, UnsupportedError
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.proof import Limits, prove
from cbs_opt.testing.instances import masks_of
from cbs_opt.testing.scattered import Scattered


def within(pattern: Pattern) -> PruningProblem:
    return PruningProblem(np.ones(pattern.n), np.eye(pattern.n), pattern)


PATTERNS = [
    (Cardinality(6, 4, keep=[1], forbid=[3]), "at least 4 of 6 zeros"),
    (Quotas([6], 4), "at least 4 of 6 zeros"),
    (Quotas.n_of_m(6, 1, 3), "at least 2 zeros in every 3 consecutive weights"),
    (Quotas([2, 2, 2], [1, 1, 2], forbid=[0]), "at least 4 of 6 zeros, by the quotas of 3 labels"),
    (Quotas([4, 2], 1), "at least 2 of 6 zeros, by the quotas of 2 labels"),
    (Scattered([3, 0, 3, 0, 3, 4], [1, 5, 0, 2, 0], keep=[2]), "at least 3 of 6 zeros, by the quotas of 3 labels"),
    (Scattered([0, 1, 0, 1], [1, 1]), "at least 2 of 4 zeros, by the quotas of 2 labels"),
    (Scattered([2, 2, 2], [0, 0, 9]), "at least 0 of 3 zeros"),
]


@pytest.mark.parametrize(("pattern", "words"), PATTERNS, ids=lambda value: str(value))
def test_they_hold_the_masks_of_the_pattern(pattern: Pattern, words: str) -> None:
    limits = Limits.of(within(pattern))
    every = np.arange(2**pattern.n)[:, None] >> np.arange(pattern.n) & 1 == 1
    assert [limits.contains(z) for z in every] == [pattern.contains(z) for z in every]
    assert str(limits) == words
    assert limits.prune <= min((~z).sum() for z in masks_of(pattern))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "label": ({"labels": np.array([0, 2, 1])}, "labels: weight 1 has label 2; a number from 0 to 1 is needed"),
    "negative label": ({"labels": np.array([0, 1, -1])}, "labels: weight 2 has label -1"),
    "fractions": ({"labels": np.array([0.0, 1.0, 1.0])}, "labels: is no vector of whole numbers"),
    "axes": ({"room": np.ones((1, 2), dtype=np.int64)}, "room: is no vector"),
    "empty": ({"room": np.ones(0, dtype=np.int64)}, "room: is no vector"),
    "narrow": ({"room": np.ones(2, dtype=np.int8)}, "room: is no vector"),
    "room": ({"room": np.array([1, 3])}, "room: is 3 for label 1; a number from 0 to 2 is needed"),
    "no room": ({"room": np.array([-1, 1])}, "room: is -1 for label 0"),
    "unused": ({"room": np.array([1, 1, 1])}, "room: is 1 for label 2; a number from 0 to 0 is needed"),
    "forced": ({"keep": np.ones(3, dtype=bool)}, "keep: 2 weights of label 1 are forced to stay, but only 1 may"),
    "both": (
        {"keep": np.arange(3) == 0, "forbid": np.ones(3, dtype=bool)},
        "keep: weight 0 is forced to stay and forbidden",
    ),
    "mask": ({"forbid": np.zeros(4, dtype=bool)}, "forbid: has shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_are_none_are_one_sentence(name: str) -> None:
    nothing = np.zeros(3, dtype=bool)
    arrays: dict[str, Any] = {
        "labels": np.array([0, 1, 1]),
        "room": np.array([1, 1]),
        "keep": nothing,
        "forbid": nothing,
    }
    changed, words = WRONG[name]
    Limits(**arrays)
    with pytest.raises(ValueError, match=words):
        Limits(**{**arrays, **changed})


def test_they_cannot_be_changed_behind_ones_back() -> None:
    room = np.array([1, 1])
    limits = Limits(np.array([0, 1, 1]), room, np.zeros(3, dtype=bool), np.zeros(3, dtype=bool))
    room[1] = 2
    assert limits.room.tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        limits.room[1] = 2


class Contiguous(Pattern):
    """Masks whose kept weights are one run: not a matter of labels."""

    n = 4  # type: ignore[assignment]
    free = np.ones(4, dtype=bool)  # type: ignore[assignment]

    def contains(self, z: np.ndarray) -> bool:
        return int(np.abs(np.diff(z.astype(int))).sum()) <= 2

    def argmax(self, scores: np.ndarray) -> np.ndarray:
        return np.ones(4, dtype=bool)

    def flip_values(self, scores: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.full(4, np.inf)

    def fixed(self, keep: np.ndarray, prune: np.ndarray) -> Contiguous:
        raise PatternError("none")

    def constrain(self, model: Any) -> None: ...

    def rows(self) -> Any: ...

    def __str__(self) -> str:
        return "one run of kept weights"


def test_a_pattern_without_labels_is_refused_with_what_can_be_proven() -> None:
    words = (
        r"certificate: cannot take the pattern Contiguous \(one run of kept weights\); what can be proven is one that "
        "limits how many weights of each label stay: a cardinality, quotas, N:M"
    )
    with pytest.raises(UnsupportedError, match=words):
        prove(within(Contiguous()))
