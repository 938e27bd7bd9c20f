"""Schedules grow to the final sparsity."""

import itertools

import pytest

from cbs_opt.errors import CbsOptError
from cbs_opt.pruning.schedule import SCHEDULES, sparsities


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("final", [0.0, 0.5, 0.98, 1.0])
def test_grows_to_the_final_sparsity_and_settles(schedule, final):
    found = sparsities(final, 5, schedule, settle=2)
    assert len(found) == 7
    assert found[4:] == [final] * 3
    assert all(a <= b for a, b in itertools.pairwise(found))


def test_values_in_words():
    assert sparsities(0.8, 2, "linear") == pytest.approx([0.4, 0.8])
    # Each of two stages keeps half of what is there: 1/2, then 1/4.
    assert sparsities(0.75, 2, "exponential") == pytest.approx([0.5, 0.75])
    # 1 − (1/2)³ = 7/8 of the way.
    assert sparsities(0.8, 2, "cubic") == pytest.approx([0.7, 0.8])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0.5, 2, "cubik"), "did you mean cubic"), ((0.5, 0, "cubic"), "stages"), ((1.5, 1, "cubic"), "sparsity")],
)
def test_wrong_values_are_named(arguments, words):
    with pytest.raises(CbsOptError, match=words):
        sparsities(*arguments)
