"""Patterns as text: what is written is what is asked, and the same question has one text."""

from __future__ import annotations

import numpy as np
import pytest

from cbs_opt import Cardinality, DenseCurvature, Groups, Pattern, PruningProblem, Quotas, RowsCurvature, intersect
from cbs_opt.errors import InputError, PatternError
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.patterns.intersect import Intersection
from cbs_opt.kernel.patterns.nested import Nested
from cbs_opt.kernel.patterns.within_groups import WithinGroups


def block(rows: int, row: int) -> PruningProblem:
    H = DenseCurvature(np.eye(row))
    return PruningProblem(np.ones(rows * row), H if rows == 1 else RowsCurvature(H, rows))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("2:4", Quotas.n_of_m(32, 2, 4, row=8)),
        ("quota-per-row 0.7", Quotas([8] * 4, 6)),
        ("rows 0.25", Groups.of_rows(4, 8, 0.25)),
        ("columns 0.5", Groups.of_columns(4, 8, 0.5)),
        ("blocks-of-4 0.5", Groups.of_blocks(32, 4, 0.5, row=8)),
        ("sparsity 0.3", Cardinality(32, 10)),
        ("rows 0.25 & 2:4", intersect(Groups.of_rows(4, 8, 0.25), Quotas.n_of_m(32, 2, 4, row=8))),
        ("2:4&sparsity 0.75", intersect(Cardinality(32, 24), Quotas.n_of_m(32, 2, 4, row=8))),
    ],
)
def test_the_grammar(text: str, pattern: Pattern) -> None:
    found = Asked("pattern", text).of(block(4, 8)).Z
    assert str(found) == str(pattern) or set(str(found).split(" and ")) == set(str(pattern).split(" and "))
    scores = np.random.default_rng(0).random(32)
    assert found.argmax(scores).tolist() == pattern.argmax(scores).tolist()


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("2:4", "pattern 2:4"),
        (" 02 : 4 ", "pattern 2:4"),
        ("sparsity .5", "sparsity 0.5"),
        ("rows  .25 & 2:4", "pattern 2:4 & rows 0.25"),
        ("2:4 & rows 0.25 & 2:4", "pattern 2:4 & rows 0.25"),
    ],
)
def test_the_same_question_has_one_text(written: str, stored: str) -> None:
    asked = Asked("pattern", written)
    assert str(asked) == stored
    assert Asked.parse(stored) == asked


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2:4", Quotas),
        ("columns 0.5", Groups),
        ("sparsity 0.5", Cardinality),
        ("rows 0.5 & 2:4", WithinGroups),
        ("columns 0.5 & 2:4", Intersection),
        ("2:4 & sparsity 0.8", Nested),
    ],
)
def test_what_methods_are_asked_about_is_the_kind_of_pattern_it_becomes(text: str, kind: type[Pattern]) -> None:
    assert Asked("pattern", text).pattern_class is kind
    assert type(Asked("pattern", text).of(block(4, 8)).Z) is kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rows", "give N:M, as 2:4"),
        ("rows x", "'rows x' has no share between 0 and 1"),
        ("rows 1.5", "'rows 1.5' has no share between 0 and 1"),
        ("columns nan", "has no share"),
        ("blocks-of-0 0.5", "is 'blocks-of-0 0.5'"),
        ("2:4 &", "give N:M"),
        ("5:4 & rows 0.5", "N ≤ M"),
        ("heads 0.5", "give N:M"),
        ("1:999983 & 1:999979", "no row of up to 1000000 weights has groups of all these sizes"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Asked("pattern", text)


def test_what_a_block_cannot_have_is_refused() -> None:
    with pytest.raises(PatternError, match=r"rows 0\.5: the block is one row"):
        Asked("pattern", "rows 0.5").of(block(1, 8))
    with pytest.raises(PatternError, match="blocks of 3: 3 does not divide the 8 weights of a row"):
        Asked("pattern", "blocks-of-3 0.5").of(block(3, 8))
    with pytest.raises(InputError, match="here N:M can be asked for, as 2:4, and nothing else"):
        _ = Asked("pattern", "rows 0.5").n_of_m
    assert Asked("pattern", "2:4").n_of_m == (2, 4)
