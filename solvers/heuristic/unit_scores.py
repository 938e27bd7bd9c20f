"""What pruning each unit of a pattern alone costs: with all other weights as trained, or with them re-tuned.

For a unit u and its weights c (those of the unconstrained minimizer where the others are re-tuned) the cost is

    as trained  ½ cᵀH_uu c,        re-tuned  ½ cᵀ[(H⁻¹)_uu]⁻¹c,

summed over the blocks and rows that do not interact. A unit of one weight costs ½H_ii c_i², or c_i²/(2[H⁻¹]_ii). For
the same c the second cost is at most the first for every H ≻ 0; this is enforced, so that cancellation in H⁻¹ cannot
blow a score up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import singledispatch

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature import (
    BlockDiagonalCurvature,
    Curvature,
    DiagonalCurvature,
    FactorCurvature,
    RowsCurvature,
)
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.solvers.forms.unit_parts import Places
from cbs_opt.solvers.heuristic.unit_state import joint_losses

ENTRIES = 2**22
"""Entries of blocks of H that are gathered at a time."""

Blocks = Callable[[Places], Matrix]
"""``blocks(places)`` returns the blocks (c, a, a) of H or of H⁻¹ at the places (c, a), each row of which lies in one
piece of the curvature."""


def as_trained(curvature: Curvature, w: Vector, pattern: Pattern) -> Vector:
    """Scores of the weights, shape (n,): ½ w_uᵀH_uu w_u of each unit u stands on its first free weight."""
    values = 0.5 * curvature.diagonal() * w * w
    for places, form in _forms(curvature, pattern, inverse=False):
        values[places] = _on_first_place(form, w[places])
    return on_first(pattern, values)


def retuned(curvature: Curvature, center: Vector, pattern: Pattern) -> Vector:
    """Scores of the weights, shape (n,): ½ c_uᵀ[(H⁻¹)_uu]⁻¹c_u of each unit stands on its first free weight.

    ``center`` is the unconstrained minimizer c, shape (n,).
    """
    inverse = np.maximum(curvature.inverse_diagonal(), 1.0 / curvature.diagonal())
    values = 0.5 * center * center / inverse
    for places, block in _forms(curvature, pattern, inverse=True):
        values[places] = 0.0
        values[places[:, 0]] = joint_losses(block, center[places][:, :, None])
    return np.minimum(on_first(pattern, values), as_trained(curvature, center, pattern))


class Retuned:
    """``retuned`` for many vectors c: what depends only on the curvature and the pattern is computed once.

    Parameters
    ----------
    curvature : Curvature
        The curvature H.
    pattern : Pattern
        The pattern whose units are scored.
    """

    def __init__(self, curvature: Curvature, pattern: Pattern) -> None:
        self._pattern, self._alone = pattern, 0.5 / curvature.inverse_diagonal()
        blocks = _forms(curvature, pattern, inverse=True)
        self._forms: list[tuple[Places, Matrix]] = [
            (places, np.asarray(np.linalg.pinv(block, hermitian=True), dtype=np.float64)) for places, block in blocks
        ]

    def __call__(self, v: Vector) -> Vector:
        values = self._alone * v * v
        for places, form in self._forms:
            values[places] = _on_first_place(form, v[places])
        return on_first(self._pattern, np.maximum(values, 0.0))


def _on_first_place(form: Matrix, v: Matrix) -> Matrix:
    """½ vᵀ(form)v of c units of a weights each, shape (c, a): on the first weight of each unit, zero on the others."""
    values = np.zeros(v.shape)
    values[:, 0] = 0.5 * np.einsum("ca,cab,cb->c", v, form, v, optimize=True)
    return values


def on_first(pattern: Pattern, values: Vector) -> Vector:
    """``values``, shape (n,), summed over the free weights of each unit, the sum put on the first of them.

    The other free weights of a unit get 0; weights that are not free keep their values.
    """
    units, free = np.asarray(pattern.units), np.flatnonzero(pattern.free)
    _, first, number = np.unique(units[free], return_index=True, return_inverse=True)
    scores = np.where(pattern.free, 0.0, values)
    scores[free[first]] = np.bincount(number.ravel(), weights=values[free], minlength=len(first))
    return scores


def _forms(curvature: Curvature, pattern: Pattern, inverse: bool) -> Iterator[tuple[Places, Matrix]]:
    """Free weights (c, a) of units with a ≥ 2 of them in one piece of the curvature, with their blocks (c, a, a) of H.

    Units of the same size come together, many at a time; with ``inverse`` the blocks are those of H⁻¹.
    """
    sizes = [places for places in places_by_size(curvature, pattern) if places.shape[1] > 1]
    if not sizes:
        return
    gathered = _blocks(curvature, inverse)
    for places in sizes:
        step = max(1, ENTRIES // places.shape[1] ** 2)
        for start in range(0, len(places), step):
            yield places[start : start + step], gathered(places[start : start + step])


def places_by_size(curvature: Curvature, pattern: Pattern) -> list[Places]:
    """The free weights of each unit in each piece of the curvature: an array (c, a) for every number a of weights."""
    units, piece, index = np.asarray(pattern.units), _piece(curvature), np.flatnonzero(pattern.free)
    order = index[np.lexsort((piece[index], units[index]))]
    border = (np.diff(units[order]) != 0) | (np.diff(piece[order]) != 0)
    starts = np.flatnonzero(np.concatenate([[True], border]))[: len(order)]
    sizes = np.diff(np.append(starts, len(order)))
    return [order[starts[sizes == a][:, None] + np.arange(a)] for a in np.unique(sizes).tolist()]


def has_larger_units(pattern: Pattern) -> bool:
    """Whether some weights are kept or pruned together."""
    return len(np.unique(pattern.units)) < pattern.n


@singledispatch
def _piece(curvature: Curvature) -> Places:
    """The number of the piece of each weight, shape (n,); weights of different pieces do not interact."""
    return np.zeros(curvature.n, dtype=np.int64)


@_piece.register
def _row(curvature: RowsCurvature) -> Places:
    return np.repeat(np.arange(curvature.rows), curvature.d)


@_piece.register
def _weight(curvature: DiagonalCurvature) -> Places:
    return np.arange(curvature.n)


@_piece.register
def _block(curvature: BlockDiagonalCurvature) -> Places:
    pieces, number = [], 0
    for block in curvature.blocks:
        pieces.append(_piece(block) + number)
        number = int(pieces[-1].max()) + 1
    return np.concatenate(pieces)


@singledispatch
def _blocks(curvature: Curvature, inverse: bool) -> Blocks:
    """The function that gathers blocks of H, or of H⁻¹."""
    M = curvature.solve(np.eye(curvature.n)) if inverse else curvature.dense()
    return lambda at: np.asarray(M[at[:, :, None], at[:, None, :]])


@_blocks.register
def _of_rows(curvature: RowsCurvature, inverse: bool) -> Blocks:
    of_row = _blocks(curvature.row, inverse)
    return lambda at: of_row(at % curvature.d)


@_blocks.register
def _of_blocks(curvature: BlockDiagonalCurvature, inverse: bool) -> Blocks:
    made: dict[int, Blocks] = {}
    starts = np.array([part.start for part in curvature.slices])

    def gathered(at: Places) -> Matrix:
        number, found = np.searchsorted(starts, at[:, 0], side="right") - 1, np.empty((*at.shape, at.shape[1]))
        for k in np.unique(number).tolist():
            block, here = curvature.blocks[k], number == k
            of_block = made.setdefault(id(block), made.get(id(block)) or _blocks(block, inverse))
            found[here] = of_block(at[here] - starts[k])
        return found

    return gathered


@_blocks.register
def _of_factor(curvature: FactorCurvature, inverse: bool) -> Blocks:
    # (H⁻¹)_uu = (I − A_uᵀ(AAᵀ + λI)⁻¹A_u)/λ.
    lam, lower = curvature.damping, None
    if inverse:
        K = curvature.sample_gram(np.arange(curvature.n))
        lower = cholesky(K + lam * np.eye(curvature.m), lower=True)

    def gathered(at: Places) -> Matrix:
        columns = curvature.columns(at.ravel())
        if lower is not None:
            columns = solve_triangular(lower, columns, lower=True, check_finite=False)
        of_units = columns.reshape(curvature.m, *at.shape)
        products = np.einsum("mca,mcb->cab", of_units, of_units, optimize=True)
        one = np.eye(at.shape[1])
        return np.asarray((one - products) / lam if lower is not None else products + lam * one)

    return gathered
