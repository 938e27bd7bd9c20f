"""The verifier: it proves the claim f ≥ B again from the block's own numbers, and trusts nothing in the certificate.

The *region* of a node is the set of masks that the node is about. It is worked out here, starting with the pattern at
the root: the masks of a child's region are those of its parent's that agree with what the parent fixes and that keep,
or prune, the weight that the parent is split on. A node is in order if

- its point proves f ≥ B on its region (``region``; ``definite`` proves that its D is admissible), or
- for each weight that it fixes, its point proves f ≥ B on the masks of its region that decide this weight differently,
  and it is split on a weight that is free after that, with both children in the certificate. A child that would keep
  more weights of a label than the label has room for has no masks, and may be missing.

Children come after their parents, so that f ≥ B follows for the region of every node, by induction from the last node
to the first. The region of the root is the pattern. All comparisons are between exact rational numbers.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.kernel.words import counted, duration, plain_number
from cbs_opt.kernel.words import gap as gap_in_words
from cbs_opt.proof.certificate.digest import claim_digest
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import NotVerifiedError, PieceTable, Progress, Proof, Tree
from cbs_opt.proof.check.definite import Definiteness
from cbs_opt.proof.check.dual import dual_choice, dual_value, parts
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.integers import above, below
from cbs_opt.proof.check.region import FREE, KEPT, PRUNED, Choice, Pieces, State, choice, room_left, settled


@dataclass(frozen=True, repr=False)
class Verification(Displayed):
    """What ``verify`` has proven.

    Parameters
    ----------
    name : str
        The name of the problem.
    n, pruned, forced : int
        The number of weights, the least number of zeros of the masks that the claim is about, and the number of weights
        that are forced to stay or to go.
    pattern : str
        The pattern in words, made from the arrays of the certificate.
    bound : float
        The proven lower bound: no mask of the pattern has a smaller loss, whatever the values of the kept weights.
    objective : float
        The loss of the certificate's mask with its weights, rounded up.
    gap : float
        (objective − bound)/|objective|.
    nodes, points : int
        The number of nodes of the tree, and of points (D, ŵ).
    seconds : float
        Wall time of the verification.
    arithmetic : str
        The kind of arithmetic in which it was proven, in words.
    notes : tuple of str
        What else a reader of the bound should know, one sentence each.
    """

    name: str
    n: int
    pruned: int
    forced: int
    pattern: str
    bound: float
    objective: float
    gap: float
    nodes: int
    points: int
    seconds: float
    arithmetic: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data for JSON; a number that is not finite is None."""
        values = dict(self.__dict__, notes=list(self.notes))
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in values.items()}

    def _card(self) -> Card:
        name = f"{self.name}: " if self.name else ""
        return Card(
            f"{name}verified: no mask within '{self.pattern}' loses less than {plain_number(self.bound)}",
            {
                "loss of its mask": f"{plain_number(self.objective)} (gap {gap_in_words(self.gap)})",
                "proven lower bound": plain_number(self.bound),
                "proof": f"{counted(self.nodes, 'node')}, {counted(self.points, 'point')}, {self.arithmetic}, "
                f"{duration(self.seconds)}",
            },
            notes=self.notes,
        )


def verify(problem: PruningProblem, proof: Proof, *, progress: Progress | None = None) -> Verification:
    """Check a certificate: prove the claim of ``proof`` again, from the numbers of ``problem``.

    A tree is checked in exact rational arithmetic; of a dual vector, the products with the factor A are computed in
    float64 with proven error bounds, and the rest in interval arithmetic.

    Parameters
    ----------
    problem : PruningProblem
        The block. The claim is about the certificate's own pattern; that of the problem is ignored.
    proof : Proof
        The certificate, as ``Proof.load`` reads it.
    progress : callable, optional
        Called as ``progress(done, nodes)`` from time to time.

    Raises
    ------
    NotVerifiedError
        The claim is not proven. The message says which node fails and why, and whether the certificate was made for
        another block.
    InputError
        The certificate is for another number of weights, or the problem is too large to be verified in this way.
    """
    started = time.perf_counter()
    if proof.n != problem.n:
        raise InputError(f"certificate: is for {proof.n} weights, but the block has {problem.n}")
    same = claim_digest(problem, proof.limits) == proof.digest
    try:
        _require_form(proof)
        objective = _verify(problem, proof, progress)
    except NotVerifiedError as error:
        other = "" if same else "; the certificate was made for another block or pattern (its digest differs)"
        raise NotVerifiedError(f"not verified: {error}{other}") from None
    notes = (
        ()
        if same
        else (
            "the certificate was made for other numbers or another pattern (its digest differs), perhaps the same "
            "block with its H formed in another order; the proof holds for these",
        )
    )
    exact, limits = proof.tree is not None, proof.limits
    value = above(objective)
    return Verification(
        name=problem.name,
        n=problem.n,
        pruned=limits.prune,
        forced=int((limits.keep | limits.forbid).sum()),
        pattern=str(limits),
        bound=proof.bound,
        objective=value,
        gap=_gap(value, proof.bound),
        nodes=proof.nodes,
        points=len(proof.tree.D) if proof.tree is not None else 1,
        seconds=time.perf_counter() - started,
        arithmetic="exact rational arithmetic" if exact else "interval arithmetic",
        notes=notes,
    )


def _gap(objective: float, bound: float) -> float:
    if objective <= bound:
        return 0.0
    return (objective - bound) / abs(objective) if objective != 0 else math.inf


def _require_form(proof: Proof) -> None:
    """Raise an error unless all arrays have the dtypes of the format, shapes that agree, and finite numbers.

    A certificate need not come from ``load``, which checks most of this.
    """
    n, tree = proof.n, proof.tree
    forms: list[tuple[NDArray[Any], type[np.generic], tuple[int, ...]]]
    forms = [(proof.limits.labels, np.int64, (n,)), (proof.mask, np.bool_, (n,)), (proof.weights, np.float64, (n,))]
    if tree is not None:
        N, M = len(tree.parent), len(tree.D)
        forms += [(array, np.int64, (N,)) for array in (tree.parent, tree.branch, tree.point)]
        forms += [(tree.side, np.int8, (N,)), (tree.fixed, np.int8, (N, n))]
        forms += [(array, np.float64, (M, n)) for array in (tree.D, tree.w, tree.w_low)]
        if tree.pieces is not None:
            forms += _forms_of_pieces(tree.pieces, M)
    if proof.alpha is not None:
        forms.append((proof.alpha, np.float64, (len(proof.alpha),)))
    if (tree is None) == (proof.alpha is None) or any(a.dtype != kind or a.shape != shape for a, kind, shape in forms):
        raise NotVerifiedError("its arrays do not fit together")
    arrays: dict[str, NDArray[Any] | None] = {"weights": proof.weights, "alpha": proof.alpha}
    if proof.tree is not None:
        arrays |= {"D": proof.tree.D, "w": proof.tree.w, "w_low": proof.tree.w_low}
        if proof.tree.pieces is not None:
            pieces = proof.tree.pieces
            if pieces.members.max(initial=-1) >= n or pieces.members.min(initial=-1) < -1:
                raise NotVerifiedError("members names weights that there are not")
            arrays |= {"direction": pieces.direction, "size": pieces.size, "share": pieces.share, "hold": pieces.hold}
            if not ((pieces.share > 0.0).all() and (pieces.hold >= 0.0).all() and (pieces.hold <= 1.0).all()):
                raise NotVerifiedError("share has to be positive, and hold between 0 and 1")
    for name, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            raise NotVerifiedError(f"{name} holds values that are not finite")
    if not math.isfinite(proof.bound):
        raise NotVerifiedError(f"the claimed bound is {proof.bound}")


def _forms_of_pieces(pieces: PieceTable, points: int) -> list[tuple[NDArray[Any], type[np.generic], tuple[int, ...]]]:
    E, W = pieces.members.shape if pieces.members.ndim == 2 else (-1, -1)
    tables = (pieces.size, pieces.share, pieces.hold)
    return [
        (pieces.members, np.int64, (E, W)),
        (pieces.direction, np.float64, (E, W)),
        *((table, np.float32, (points, E)) for table in tables),
    ]


def _verify(problem: PruningProblem, proof: Proof, progress: Progress | None) -> Fraction:
    """Check everything, and return the exact loss of the incumbent, or an upper bound on it for a dual vector."""
    if not proof.limits.contains(proof.mask):
        raise NotVerifiedError("its mask is not in its pattern")
    if (proof.weights[~proof.mask] != 0.0).any():
        raise NotVerifiedError("its weights are not zero where its mask prunes")
    bound = Fraction(proof.bound)
    if proof.alpha is not None:
        rows = len(parts(problem)[0])
        if len(proof.alpha) != rows:
            raise NotVerifiedError(f"alpha has {len(proof.alpha)} entries, but the factor has {rows} rows")
        proven = dual_choice(problem, proof.limits, proof.alpha).bound
        if proven < bound:
            less = f"{below(proven):.9g} only, less than the claimed {proof.bound:.9g}"
            raise NotVerifiedError(f"its point proves {less}")
        return dual_value(problem, proof.weights)
    assert proof.tree is not None, "exactly one of tree and alpha is there"
    model = ExactModel.of(problem)
    _Checker(model, proof.tree, proof.limits, bound).check(progress)
    value = model.value(proof.weights)
    if value < bound:
        raise NotVerifiedError(f"its own mask has a loss of {below(value):.9g}, below its bound; please report it")
    return value


class _Checker:
    """Checks the nodes of a tree, one after the other."""

    def __init__(self, model: ExactModel, tree: Tree, limits: Limits, bound: Fraction) -> None:
        self._model = model
        self._definite = Definiteness(model)
        self._tree = tree
        self._limits = limits
        self._bound = bound

    def check(self, progress: Progress | None) -> None:
        tree, limits, N = self._tree, self._limits, len(self._tree.parent)
        if N == 0:
            raise NotVerifiedError("it has no nodes")
        root = np.where(limits.keep, KEPT, np.where(limits.forbid, PRUNED, FREE)).astype(np.int8)
        after = np.zeros((N, limits.n), dtype=np.int8)
        has_child = np.zeros((N, 3), dtype=np.bool_)
        for node in range(N):
            if progress is not None and node % 64 == 0:
                progress(node, N)
            parent, side = int(tree.parent[node]), int(tree.side[node])
            if node == 0:
                if parent != -1:
                    raise NotVerifiedError("node 0 is not a root")
                state = root.copy()
            else:
                if not 0 <= parent < node or side not in (KEPT, PRUNED) or tree.branch[parent] < 0:
                    raise NotVerifiedError(f"node {node} is no child of a node that is split")
                if has_child[parent, side]:
                    raise NotVerifiedError(f"node {node} is a child that node {parent} has already")
                has_child[parent, side] = True
                state = after[parent].copy()
                state[tree.branch[parent]] = side
            after[node] = self._checked(node, state)
        for node in np.flatnonzero(tree.branch >= 0).tolist():
            full = room_left(after[node], limits)[limits.labels[tree.branch[node]]] <= 0
            if not has_child[node, PRUNED] or not (has_child[node, KEPT] or full):
                raise NotVerifiedError(f"node {node} is split, but one of its children is missing")

    def _checked(self, node: int, state: State) -> State:
        """Check one node, and return its region without the masks that what it fixes excludes."""
        tree = self._tree
        branch, fixed = int(tree.branch[node]), tree.fixed[node]
        if branch < 0:
            if (room_left(state, self._limits) < 0).any():
                return state  # no mask of the pattern keeps that many: nothing to prove
            chosen = self._choice(node, state)
            if chosen.bound < self._bound:
                raise NotVerifiedError(
                    f"node {node} is not split, and its point proves {below(chosen.bound):.9g} only, "
                    f"less than the claimed {below(self._bound):.9g}"
                )
            return state
        after = state
        if fixed.any():
            self._check_fixed(node, state, fixed)
            after = np.where(fixed != FREE, fixed, state)
        if branch >= len(state) or after[branch] != FREE:
            raise NotVerifiedError(f"node {node} is split on weight {branch}, which is not free there")
        return after

    def _choice(self, node: int, state: State) -> Choice:
        """Bound (B) from the node's point on its region; an error unless its splitting is proven admissible."""
        point = int(self._tree.point[node])
        if not 0 <= point < len(self._tree.D):
            raise NotVerifiedError(f"node {node} needs a point, and has none")
        D, w, low = self._tree.D[point], self._tree.w[point], self._tree.w_low[point]
        region = settled(state, self._limits)
        active = np.flatnonzero(region != PRUNED)
        pieces = self._pieces(point, region)
        if not self._definite.proves(active, D[active], None if pieces is None else pieces.V):
            raise NotVerifiedError(f"the splitting of node {node} is not proven to leave a positive semidefinite rest")
        return choice(self._model, region, self._limits, D, w, low, pieces)

    def _pieces(self, point: int, region: State) -> Pieces | None:
        """The pieces of a point that can be used on ``region``."""
        table = self._tree.pieces
        if table is None:
            return None
        V = self._definite.on_grid(table.columns(point, self._limits.n))
        return Pieces(V, table.share[point].astype(np.float64), table.hold[point].astype(np.float64)).within(region)

    def _check_fixed(self, node: int, state: State, fixed: State) -> None:
        """Raise an error unless the node's point proves f ≥ B where any weight that it fixes is decided differently."""
        chosen = self._choice(node, state)
        region = settled(state, self._limits)
        for i in np.flatnonzero(fixed != FREE):
            if region[i] != FREE or fixed[i] not in (KEPT, PRUNED):
                raise NotVerifiedError(f"node {node} fixes weight {i}, which is not free there")
            proven = chosen.flipped(int(i), KEPT + PRUNED - int(fixed[i]))
            if proven is not None and proven < self._bound:
                raise NotVerifiedError(
                    f"node {node} fixes weight {i}, but the other side is proven to cost {below(proven):.9g} only, "
                    f"less than the claimed {below(self._bound):.9g}"
                )
