"""Whatever is done to a certificate, it is refused or what it claims is true all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt import PruningProblem
from cbs_opt.errors import CbsOptError
from cbs_opt.kernel.patterns import Pattern, Quotas
from cbs_opt.proof import Limits, NotVerifiedError, Proof, Tree, prove, verify
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.solvers.exact import bnb_search
from cbs_opt.testing.scattered import Scattered

Rng = np.random.Generator


def block(seed: int, n: int = 11) -> PruningProblem:
    """Correlated inputs: some twenty nodes, screening, leaves."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2 * n, n)) @ (np.eye(n) + rng.normal(size=(n, n)))
    return PruningProblem.from_activations(rng.normal(size=n), X, damping=1e-3).pruning(n // 2)


CARDINALITIES = 4
OTHERS: list[Pattern] = [
    Quotas.n_of_m(12, 2, 4),
    Quotas([5, 6], [3, 2], keep=[0], forbid=[7]),
    Scattered([0, 2, 1, 0, 2, 1, 2, 1, 2, 1, 0], [1, 2, 2], keep=[3], forbid=[1]),
    Scattered([1, 1, 0, 2, 0, 0, 0, 2, 1, 0, 0], [3, 3, 0]),
]
WITH_PIECES = CARDINALITIES + len(OTHERS)
"""Two more blocks: trees that begin anew with rank-one pieces at their second node."""
BLOCKS = WITH_PIECES + 2


@cache
def certified(which: int) -> tuple[PruningProblem, Proof]:
    """A block and its certificate."""
    if which >= WITH_PIECES:
        problem = block(which, 14)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bnb_search, "PIECES_FROM", 2)
            proof = prove(problem)
        assert tree_of(proof).pieces is not None
        return problem, proof
    if which < CARDINALITIES:
        problem = block(which)
    else:
        pattern = OTHERS[which - CARDINALITIES]
        problem = block(which, pattern.n).within(pattern)
    return problem, prove(problem)


def tree_of(proof: Proof) -> Tree:
    assert proof.tree is not None
    return proof.tree


def limited(proof: Proof, **arrays: Any) -> Proof:
    return replace(proof, limits=replace(proof.limits, **arrays))


def changed(proof: Proof, **arrays: Any) -> Proof:
    return replace(proof, tree=replace(tree_of(proof), **arrays))


def in_pieces(proof: Proof, **arrays: Callable[[np.ndarray], np.ndarray]) -> Proof:
    """A certificate without pieces stays as it is."""
    table = tree_of(proof).pieces
    if table is None:
        return proof
    return changed(proof, pieces=replace(table, **{name: made(getattr(table, name)) for name, made in arrays.items()}))


def one_entry(array: np.ndarray, rng: Rng, value: Callable[[Any], Any]) -> np.ndarray:
    """A copy with one entry changed."""
    copy = array.copy()
    if copy.size:
        index = tuple(int(rng.integers(0, length)) for length in copy.shape)
        copy[index] = value(copy[index])
    return copy


def without_node(proof: Proof, rng: Rng) -> Proof:
    tree = tree_of(proof)
    gone = int(rng.integers(0, len(tree.parent)))
    left = np.arange(len(tree.parent)) != gone
    parent = tree.parent[left]
    return changed(
        proof,
        parent=np.where(parent > gone, parent - 1, parent),
        side=tree.side[left],
        branch=tree.branch[left],
        point=tree.point[left],
        fixed=tree.fixed[left],
    )


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: x * factor


TAMPERINGS: dict[str, Callable[[Proof, Rng], Proof]] = {
    "bound": lambda p, r: replace(p, bound=p.bound + abs(p.bound) * 10.0 ** r.uniform(-15, 1)),
    "bound infinite": lambda p, r: replace(p, bound=float(r.choice([np.inf, np.nan]))),
    "room": lambda p, r: limited(p, room=one_entry(p.limits.room, r, lambda x: int(x + r.integers(-2, 3)))),
    "labels": lambda p, r: limited(p, labels=one_entry(p.limits.labels, r, lambda x: int(r.integers(-1, 4)))),
    "labels shuffled": lambda p, r: limited(p, labels=r.permutation(p.limits.labels)),
    "labels joined": lambda p, r: limited(
        p, labels=np.zeros_like(p.limits.labels), room=p.limits.room.sum(keepdims=True)
    ),
    "keep": lambda p, r: limited(p, keep=one_entry(p.limits.keep, r, lambda x: not x)),
    "forbid": lambda p, r: limited(p, forbid=one_entry(p.limits.forbid, r, lambda x: not x)),
    "mask as numbers": lambda p, r: replace(p, mask=p.mask.astype(np.int64)),
    "mask": lambda p, r: replace(p, mask=one_entry(p.mask, r, lambda x: not x)),
    "weights": lambda p, r: replace(p, weights=one_entry(p.weights, r, scaled(float(r.normal())))),
    "digest": lambda p, r: replace(p, digest="0" * 64),
    "D": lambda p, r: changed(p, D=one_entry(tree_of(p).D, r, scaled(10.0 ** float(r.uniform(-3, 3))))),
    "D all": lambda p, r: changed(p, D=tree_of(p).D * 10.0 ** r.uniform(-12, 1)),
    "D sign": lambda p, r: changed(p, D=one_entry(tree_of(p).D, r, lambda x: float(r.choice([-x, 0.0, np.nan])))),
    "w": lambda p, r: changed(p, w=one_entry(tree_of(p).w, r, scaled(1 + 10.0 ** float(r.uniform(-16, 2))))),
    "w_low": lambda p, r: changed(p, w_low=one_entry(tree_of(p).w_low, r, lambda x: float(r.normal()))),
    "parent": lambda p, r: changed(p, parent=one_entry(tree_of(p).parent, r, lambda x: int(r.integers(-2, 9)))),
    "side": lambda p, r: changed(p, side=one_entry(tree_of(p).side, r, lambda x: int(r.integers(-1, 4)))),
    "sides swapped": lambda p, r: changed(p, side=np.where(tree_of(p).side > 0, 3 - tree_of(p).side, 0)),
    "branch": lambda p, r: changed(p, branch=one_entry(tree_of(p).branch, r, lambda x: int(r.integers(-2, 12)))),
    "point": lambda p, r: changed(p, point=one_entry(tree_of(p).point, r, lambda x: int(r.integers(-2, 40)))),
    "fixed": lambda p, r: changed(p, fixed=one_entry(tree_of(p).fixed, r, lambda x: int(r.integers(-1, 4)))),
    "node dropped": without_node,
    "cut": lambda p, r: changed(p, branch=np.where(np.arange(len(tree_of(p).branch)) == 0, -1, tree_of(p).branch)),
    "members": lambda p, r: in_pieces(p, members=lambda a: one_entry(a, r, lambda x: int(r.integers(-2, 15)))),
    "direction": lambda p, r: in_pieces(
        p, direction=lambda a: one_entry(a, r, scaled(10.0 ** float(r.uniform(-3, 1))))
    ),
    "size": lambda p, r: in_pieces(p, size=lambda a: one_entry(a, r, scaled(10.0 ** float(r.uniform(-3, 1))))),
    "sizes": lambda p, r: in_pieces(p, size=lambda a: a * np.float32(10.0 ** r.uniform(-6, 0.1))),
    "share": lambda p, r: in_pieces(p, share=lambda a: one_entry(a, r, lambda x: 10.0 ** float(r.uniform(-40, 30)))),
    "hold": lambda p, r: in_pieces(p, hold=lambda a: one_entry(a, r, lambda x: float(r.uniform(-0.2, 1.2)))),
    "holds": lambda p, r: in_pieces(p, hold=np.ones_like),
    "no pieces": lambda p, r: changed(p, pieces=None),
    "no tree": lambda p, r: replace(p, tree=None),
    "shapes": lambda p, r: changed(p, fixed=tree_of(p).fixed[:, :1]),
}


@settings(max_examples=600, deadline=None)
@given(
    which=st.integers(0, BLOCKS - 1),
    names=st.lists(st.sampled_from(sorted(TAMPERINGS)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_passes_is_true(which: int, names: list[str], seed: int) -> None:
    (problem, proof), rng = certified(which), np.random.default_rng(seed)
    try:
        for name in sorted(names, key="no tree".__eq__):
            proof = TAMPERINGS[name](proof, rng)
        verification = verify(problem, proof)
    except CbsOptError:
        return
    limits = proof.limits
    claimed = Scattered(limits.labels, limits.room, np.flatnonzero(limits.keep), np.flatnonzero(limits.forbid))
    best = cbs_opt.solve(problem.within(claimed), "enumeration")
    model = ExactModel.of(problem)
    assert Fraction(verification.bound) <= model.value(best.weights)
    assert Fraction(verification.objective) >= model.value(proof.weights)


REFUSED = {
    "bound": (lambda p: replace(p, bound=p.bound * (1 + 1e-6)), "not split, and its point proves"),
    "bound above the mask": (lambda p: replace(p, bound=p.bound * 2), "less than the claimed"),
    "outside the pattern": (lambda p: replace(p, mask=np.ones_like(p.mask)), "mask is not in its pattern"),
    "weights": (lambda p: replace(p, weights=np.ones_like(p.weights)), "weights are not zero where its mask prunes"),
    "D too large": (lambda p: changed(p, D=tree_of(p).D * 1.01), "not proven to leave a positive semidefinite rest"),
    "last node": (
        lambda p: changed(
            p, **{name: getattr(tree_of(p), name)[:-1] for name in ("parent", "side", "branch", "point", "fixed")}
        ),
        "one of its children is missing",
    ),
    "twin": (lambda p: changed(p, side=np.ones_like(tree_of(p).side)), "is a child that node . has already"),
    "no root": (lambda p: changed(p, parent=np.zeros_like(tree_of(p).parent)), "node 0 is not a root"),
    "forward": (lambda p: changed(p, parent=np.arange(len(tree_of(p).parent))), "node 0 is not a root"),
    "no points": (lambda p: changed(p, point=np.full_like(tree_of(p).point, -1)), "needs a point, and has none"),
    "empty": (
        lambda p: changed(
            p, **{name: getattr(tree_of(p), name)[:0] for name in ("parent", "side", "branch", "point", "fixed")}
        ),
        "has no nodes",
    ),
    "branch": (lambda p: changed(p, branch=np.full_like(tree_of(p).branch, 99)), "weight 99, which is not free there"),
    "nan": (lambda p: changed(p, w=tree_of(p).w * np.nan), "w holds values that are not finite"),
    "alpha": (lambda p: replace(p, alpha=np.ones(3)), "arrays do not fit together"),
    "another n": (
        lambda p: replace(p, limits=Limits.cardinality(0, np.zeros(3, dtype=bool), np.zeros(3, dtype=bool))),
        "arrays do not fit together",
    ),
    "mask as numbers": (lambda p: replace(p, mask=p.mask.astype(np.int64)), "arrays do not fit together"),
    "wide numbers": (lambda p: changed(p, D=tree_of(p).D.astype(np.longdouble)), "arrays do not fit together"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said(name: str) -> None:
    tamper, words = REFUSED[name]
    problem, proof = certified(0)
    with pytest.raises(NotVerifiedError, match=words):
        verify(problem, tamper(proof))


def test_fixing_a_weight_the_wrong_way_is_refused() -> None:
    for problem, proof in map(certified, range(BLOCKS)):
        fixed = tree_of(proof).fixed
        if not fixed.any():
            continue
        node, weight = (int(index[0]) for index in np.nonzero(fixed))
        flipped = fixed.copy()
        flipped[node, weight] = 3 - flipped[node, weight]
        with pytest.raises(NotVerifiedError):
            verify(problem, changed(proof, fixed=flipped))
