"""The checker on trees that are checked on paper: what it accepts, and the false claims it refuses, one rule each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made_proof import Node, proof_of

from cbs_opt import PruningProblem
from cbs_opt.kernel.curvature import DiagonalCurvature
from cbs_opt.proof import Limits, NotVerifiedError, Proof, verify
from cbs_opt.proof.certificate.record import PieceTable
from cbs_opt.proof.check.region import KEPT, PRUNED

# Weights 3, 1, 3, 1 by two labels: the best mask keeps 0 and 2 and loses 1, what keeps 1 or prunes 0 loses 5 at least.
SPLIT_ON_0 = [Node(branch=0, point=-1), Node(0, PRUNED), Node(0, KEPT)]


def test_a_split_on_the_first_weight() -> None:
    problem, proof = proof_of(SPLIT_ON_0, 0.99, [0, 3])
    verification = verify(problem, proof)
    assert (verification.nodes, verification.points, verification.forced, verification.pruned) == (3, 1, 0, 2)
    assert (verification.objective, verification.bound) == (5.0, 0.99)
    assert verification.gap == pytest.approx(4.01 / 5.0)
    assert verification.arithmetic == "exact rational arithmetic"
    assert 0.0 <= verification.seconds < 60.0


def test_what_is_forced_is_counted_either_way() -> None:
    problem, proof = proof_of([Node()], 0.99, [0, 2], keep=[0])
    limits = replace(proof.limits, forbid=np.array([False, False, False, True]))
    assert verify(problem, replace(proof, limits=limits)).forced == 2


@pytest.mark.parametrize("branch", [0, 1, 2, 3])
@pytest.mark.parametrize("side", [KEPT, PRUNED])
def test_both_children_have_to_be_there(branch: int, side: int) -> None:
    """Without the other one a bound of 4.95 would be 'proven' of some, and there are masks that lose 1."""
    dear = KEPT if branch % 2 else PRUNED
    kept = [1, 2] if branch < 2 else [0, 3]
    claim = 4.95 if side == dear else 0.99
    with pytest.raises(NotVerifiedError, match="node 0 is split, but one of its children is missing"):
        verify(*proof_of([Node(branch=branch, point=-1), Node(0, side)], claim, kept))


def test_a_weight_that_is_kept_anyway_is_not_split_on() -> None:
    """0 is kept, so its label is full: without its child that keeps 0 the other one alone would prove 4.95."""
    with pytest.raises(NotVerifiedError, match="node 0 is split on weight 0, which is not free there"):
        verify(*proof_of([Node(branch=0, point=-1), Node(0, PRUNED)], 4.95, [0, 3], keep=[0]))


@pytest.mark.parametrize("branch", [4, 99])
def test_a_weight_that_there_is_not_is_not_split_on(branch: int) -> None:
    with pytest.raises(NotVerifiedError, match=f"node 0 is split on weight {branch}, which is not free there"):
        verify(*proof_of([Node(branch=branch, point=-1)], 0.99, [0, 2]))


def test_a_node_whose_label_is_overfull_needs_no_point() -> None:
    nodes = [Node(branch=0, point=-1), Node(0, PRUNED), Node(0, KEPT, 1, -1), Node(2, PRUNED), Node(2, KEPT, point=-1)]
    assert verify(*proof_of(nodes, 0.99, [0, 2])).nodes == 5


def test_a_label_that_is_just_full_is_not_overfull() -> None:
    """0 is kept and takes all the room of its label: what is left of the other one has to be proven all the same."""
    with pytest.raises(NotVerifiedError, match=r"node 0 is not split, and its point proves 0\.9995 only"):
        verify(*proof_of([Node()], 4.95, [0, 3], keep=[0]))


def test_a_splitting_that_takes_more_than_the_curvature_has_is_refused() -> None:
    """H = I, and a D above 1 would prove more than there is to lose."""
    for tree in ([Node()], SPLIT_ON_0):
        with pytest.raises(NotVerifiedError, match="is not proven to leave a positive semidefinite rest"):
            verify(*proof_of(tree, 1.0005, [0, 3], D=1.001))


@pytest.mark.parametrize("point", [-1, 1, 7])
def test_a_point_that_there_is_not(point: int) -> None:
    with pytest.raises(NotVerifiedError, match="node 0 needs a point, and has none"):
        verify(*proof_of([Node(point=point)], 0.99, [0, 2]))


@pytest.mark.parametrize(("parent", "side"), [(3, PRUNED), (4, PRUNED), (-1, PRUNED), (1, PRUNED), (2, 0), (2, 3)])
def test_a_node_that_is_no_child(parent: int, side: int) -> None:
    """It is its own parent, comes before it, has none, hangs on a leaf, or does nothing to the branching weight."""
    nodes = [*SPLIT_ON_0[:2], Node(0, KEPT, 2, -1), Node(parent, side, 3)]
    with pytest.raises(NotVerifiedError, match="node 3 is no child of a node that is split"):
        verify(*proof_of(nodes, 0.99, [0, 2]))


FIXING = [Node(branch=2, point=0), Node(0, PRUNED), Node(0, KEPT)]


def fixing(fixed: dict[int, int]) -> list[Node]:
    return [FIXING[0]._replace(fixed=fixed), *FIXING[1:]]


def test_what_is_fixed_is_proven_by_its_other_side() -> None:
    """Whatever keeps 1, or prunes 0, loses 5."""
    assert verify(*proof_of(fixing({0: KEPT, 1: PRUNED}), 0.99, [0, 2])).gap == pytest.approx(0.01)


@pytest.mark.parametrize(("fixed", "kept"), [({1: KEPT}, [1, 2]), ({0: PRUNED}, [1, 2])])
def test_a_weight_is_not_fixed_to_its_dear_side(fixed: dict[int, int], kept: list[int]) -> None:
    """Then all that is left loses 5, but 4.95 is no bound: the other side, that was left out, loses 1."""
    (weight,) = fixed
    with pytest.raises(NotVerifiedError, match=rf"node 0 fixes weight {weight}, but the other side .* 0\.999 only"):
        verify(*proof_of(fixing(fixed), 4.95, kept))


def test_what_is_fixed_is_not_split_on() -> None:
    nodes = [Node(branch=1, fixed={1: PRUNED}), Node(0, PRUNED), Node(0, KEPT)]
    with pytest.raises(NotVerifiedError, match="node 0 is split on weight 1, which is not free there"):
        verify(*proof_of(nodes, 0.99, [0, 2]))


def test_a_weight_is_fixed_to_one_of_two_sides() -> None:
    with pytest.raises(NotVerifiedError, match="node 0 fixes weight 0, which is not free there"):
        verify(*proof_of(fixing({0: 3}), 0.99, [0, 2]))


def test_a_bound_that_is_reached_exactly_is_proven() -> None:
    """D = ½ proves half of each loss: 2¼ + ¼, whichever of the two equal weights is kept."""
    tie = {"weights": (3.0, 3.0, 3.0, 1.0), "D": 0.5}
    assert verify(*proof_of([Node()], 2.5, [0, 2], **tie)).objective == 5.0
    assert verify(*proof_of(fixing({0: KEPT}), 2.5, [0, 2], **tie)).objective == 5.0
    more = float(np.nextafter(2.5, 3.0))
    with pytest.raises(NotVerifiedError, match=r"proves 2\.5 only"):
        verify(*proof_of([Node()], more, [0, 2], **tie))
    with pytest.raises(NotVerifiedError, match=r"the other side is proven to cost 2\.5 only"):
        verify(*proof_of(fixing({0: KEPT}), more, [0, 2], **tie))


def test_nothing_to_lose() -> None:
    """Where the weights that go are zero already, loss and bound are 0 and so is the gap."""
    verification = verify(*proof_of([Node()], 0.0, [0, 2], weights=(3.0, 0.0, 3.0, 0.0)))
    assert (verification.objective, verification.gap) == (0.0, 0.0)
    below = verify(*proof_of([Node()], -1e-9, [0, 2], weights=(3.0, 0.0, 3.0, 0.0)))
    assert below.gap == float("inf")


def test_progress_is_told_from_the_first_node_on() -> None:
    told: list[tuple[int, int]] = []
    problem, proof = proof_of(SPLIT_ON_0, 0.99, [0, 2])
    verify(problem, proof, progress=lambda done, nodes: told.append((done, nodes)))
    assert told == [(0, 3)]


def test_one_weight_that_is_pruned_and_not_zero() -> None:
    problem, proof = proof_of([Node()], 0.99, [0, 2])
    weights = proof.weights.copy()
    weights[1] = 0.25
    with pytest.raises(NotVerifiedError, match="its weights are not zero where its mask prunes"):
        verify(problem, replace(proof, weights=weights))


@pytest.mark.parametrize("name", ["weights", "D", "w", "w_low"])
def test_one_entry_that_is_not_finite(name: str) -> None:
    problem, proof = proof_of([Node()], 0.99, [0, 2])
    assert proof.tree is not None
    array = (proof.weights if name == "weights" else getattr(proof.tree, name)).copy()
    array.flat[0] = np.inf
    if name == "weights":
        proof = replace(proof, weights=array)
    else:
        proof = replace(proof, tree=replace(proof.tree, **{name: array}))
    with pytest.raises(NotVerifiedError, match=f"^not verified: {name} holds values that are not finite"):
        verify(problem, proof)


# ---------------------------------------------------------------- pieces


def with_pieces(**arrays: Any) -> tuple[PruningProblem, Proof]:
    """Two pieces of length nought, so that they prove nothing and break nothing, but for what is given."""
    table = PieceTable(
        members=np.array([[0, 3], [2, -1]]),
        direction=np.zeros((2, 2)),
        size=np.ones((1, 2), dtype=np.float32),
        share=np.array([[1.0, 0.5]], dtype=np.float32),
        hold=np.array([[0.0, 1.0]], dtype=np.float32),
    )
    problem, proof = proof_of([Node()], 0.99, [0, 2])
    assert proof.tree is not None
    given = {name: np.array(value, dtype=getattr(table, name).dtype) for name, value in arrays.items()}
    return problem, replace(proof, tree=replace(proof.tree, pieces=replace(table, **given)))


def test_pieces_at_the_ends_of_what_is_allowed() -> None:
    assert verify(*with_pieces()).objective == 1.0


@pytest.mark.parametrize(
    "arrays",
    [
        {"share": [[1.0, 0.0]]},
        {"share": [[-1.0, 1.0]]},
        {"hold": [[-0.125, 1.0]]},
        {"hold": [[0.5, 1.5]]},
    ],
    ids=str,
)
def test_shares_and_holds_that_prove_nothing(arrays: dict[str, Any]) -> None:
    with pytest.raises(NotVerifiedError, match="share has to be positive, and hold between 0 and 1"):
        verify(*with_pieces(**arrays))


@pytest.mark.parametrize("members", [[[0, 4], [2, -1]], [[0, 3], [2, -2]], [[9, 3], [-7, 1]]])
def test_pieces_of_weights_that_there_are_not(members: list[list[int]]) -> None:
    with pytest.raises(NotVerifiedError, match="members names weights that there are not"):
        verify(*with_pieces(members=members))


@pytest.mark.parametrize(
    "arrays", [{"members": [0, 3]}, {"direction": np.zeros((2, 1))}, {"size": np.ones((2, 2))}, {"hold": [0.0, 1.0]}]
)
def test_pieces_that_do_not_fit(arrays: dict[str, Any]) -> None:
    with pytest.raises(NotVerifiedError, match="its arrays do not fit together"):
        verify(*with_pieces(**arrays))


# ---------------------------------------------------------------- the dual kind


def dual(weights: list[float], bound: float) -> tuple[PruningProblem, Proof]:
    """Without rows, the dual bound of a diagonal is the loss of the best mask; two of four are kept."""
    mask = np.array([True, False, True, False])
    nothing = np.zeros(4, dtype=bool)
    problem = PruningProblem(np.array(weights), DiagonalCurvature(np.ones(4)))
    limits = Limits.cardinality(2, nothing, nothing)
    return problem, Proof(limits, mask, np.where(mask, weights, 0.0), bound, "0" * 64, alpha=np.zeros(0))


def test_a_dual_bound_that_is_reached_exactly_is_proven() -> None:
    verification = verify(*dual([3.0, 1.0, 3.0, 1.0], 1.0))
    assert (verification.objective, verification.gap, verification.nodes, verification.points) == (1.0, 0.0, 1, 1)
    assert verification.arithmetic == "interval arithmetic"
    assert verify(*dual([3.0, 0.0, 3.0, 0.0], 0.0)).gap == 0.0
    with pytest.raises(NotVerifiedError, match=r"its point proves 1 only, less than the claimed"):
        verify(*dual([3.0, 1.0, 3.0, 1.0], 1.0 + 2.0**-52))


def test_a_dual_vector_of_another_length_is_refused() -> None:
    problem, proof = dual([3.0, 1.0, 3.0, 1.0], 1.0)
    with pytest.raises(NotVerifiedError, match="alpha has 4 entries, but the factor has 0 rows"):
        verify(problem, replace(proof, alpha=np.zeros(4)))
