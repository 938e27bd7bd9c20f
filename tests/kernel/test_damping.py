"""λ: one default, one ratio to the curvature, one sentence where it dominates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cbs_opt.errors import InputError
from cbs_opt.evaluation.certify import certify
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    RowsCurvature,
)
from cbs_opt.kernel.curvature.damping import damping_asked, dominance_note, dominance_said
from cbs_opt.kernel.problem import PruningProblem

A = np.arange(1.0, 13.0).reshape(2, 6) / 4
MEAN = float((A * A).sum()) / 6


@pytest.mark.parametrize(
    "curvature",
    [
        DenseCurvature(A.T @ A, 3.0 * MEAN),
        FactorCurvature(A, 3.0 * MEAN),
        FactorCurvature(A.astype(np.float32), 3.0 * MEAN),
        DiagonalCurvature((A * A).sum(axis=0), 3.0 * MEAN),
        RowsCurvature(A.T @ A, 4, 3.0 * MEAN),
        BlockDiagonalCurvature([FactorCurvature(A[:, :2], 3.0 * MEAN), FactorCurvature(A[:, 2:], 3.0 * MEAN)]),
    ],
    ids=lambda curvature: curvature.kind,
)
def test_every_curvature_knows_its_diagonal_without_damping(curvature: Curvature) -> None:
    assert curvature.mean_diagonal == pytest.approx(MEAN, rel=1e-12)
    assert curvature.dominance == pytest.approx(3.0, rel=1e-12)


def test_blocks_with_dampings_of_their_own_are_compared_in_the_mean() -> None:
    large, small = FactorCurvature(100.0 * A[:, :3], 1.0), FactorCurvature(A[:, 3:], 1e-3)
    mean = (1e4 * (A[:, :3] ** 2).sum() + (A[:, 3:] ** 2).sum()) / 6
    assert BlockDiagonalCurvature([large, small]).dominance == pytest.approx(0.5005 / mean, rel=1e-12)


def test_a_factor_far_below_its_damping_is_still_known() -> None:
    """In a formed matrix the last digits of λ would hide it."""
    assert FactorCurvature(1e-12 * A, 1.0).dominance == pytest.approx(1e24 / MEAN, rel=1e-12)
    assert FactorCurvature(np.zeros((2, 6)), 1.0).dominance == math.inf
    assert DenseCurvature(A.T @ A + np.eye(6)).dominance == 0.0


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1.001, "1.01"), (1.314, "1.31"), (131_400.0, "131,000"), (4.2e8, "420,000,000"), (8.13e39, "8.13e+39")],
)
def test_the_sentence_has_the_ratio_and_what_to_do(ratio: float, words: str) -> None:
    (note,) = dominance_note([ratio])
    assert note == (
        f"λ is {words} times the mean diagonal of the curvature: the model is about λ, and so are objective, bound and "
        "gap; give a smaller damping, or a dampening_frac such as 0.01"
    )
    assert dominance_said(note) == pytest.approx(ratio, rel=0.01)
    assert dominance_said(note) > 1


def test_of_many_layers_one_sentence_has_the_worst_and_their_number() -> None:
    (note,) = dominance_note([0.01, 7.0, math.inf, 20.0, 1.0])
    assert note.startswith("λ is up to 20 times the mean diagonal of the curvature, in 3 of 5 layers: ")
    assert dominance_said(note) == 20.0
    (nothing,) = dominance_note([math.inf, 0.5], "blocks")
    assert nothing.startswith("λ is all there is of the curvature, which is zero without it, in 1 of 2 blocks: ")
    assert dominance_said(nothing) == math.inf
    assert dominance_note([1.0, 0.3]) == dominance_note([]) == ()
    assert dominance_said("gradients in float32") == 0.0


def test_one_default_where_neither_is_given() -> None:
    assert damping_asked(None, None) == (None, 0.01)
    assert damping_asked(0.3, None, "fisher") == (0.3, None)
    assert damping_asked(None, 0.0) == (None, 0.0)
    with pytest.raises(InputError, match="exactly one"):
        damping_asked(0.3, 0.1)
    with pytest.raises(InputError, match="dampening_frac: is 0; fisher needs a dampening_frac > 0"):
        damping_asked(None, 0.0, "fisher")


def test_certify_says_it_of_a_block() -> None:
    w = np.arange(1.0, 7.0)
    told = [
        certify(PruningProblem.from_gradients(w, A, dampening_frac=share), w > 3, time_limit=0.0).notes
        for share in (0.5, 50.0)
    ]
    assert told[0] == ()
    assert [dominance_said(note) for note in told[1]] == [50.0]
