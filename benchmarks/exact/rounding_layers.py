"""`python -m benchmarks.exact.rounding_layers`: the bound of a layer against its optimum, in rational arithmetic.

Layers of 2 … 6 rows and up to 10 inputs, H formed of the user's arrays as fractions (``rounding``); a cardinality over
the layer, quotas of rows, N:M, labels in any order. Every mask of a row is re-tuned in float64, and the best mask of
the layer is put together of them row by row; its exact value, in fractions, is f of a feasible point, so that a bound
above it is wrong, by however little, and whatever rounding did to the ranking.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

from benchmarks.exact.rounding import _damped_dense
from benchmarks.exact_optimum import value_of
from cbs_opt import Cardinality, PruningProblem, Quotas, RowsCurvature
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask, Matrix
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.solvers.bounds.rows import rows_bound
from cbs_opt.testing.scattered import Scattered


@dataclass(frozen=True, eq=False)
class LayerCase:
    """A layer with its pattern, and f of its best mask, exactly."""

    problem: PruningProblem
    best: Fraction


def layer_case(seed: int) -> LayerCase | None:
    """None where the draw is refused."""
    rng = np.random.default_rng([seed, 13])
    kind = int(rng.integers(0, 4))
    rows = int(rng.integers(2, 4 if kind == 3 else 7))
    d = int(rng.integers(1, 5 if kind == 3 else 11))
    if kind == 2:
        d = max(2, d - d % 2)
    n = rows * d
    try:
        one, H, _ = _damped_dense(rng, d)
        curvature = RowsCurvature(one, rows)
        w = rng.normal(size=n) * 10.0 ** rng.uniform(-4, 4)
        if rng.random() < 0.3:
            w = np.sign(w) * np.abs(w).mean() * (rng.random(n) > 0.3)
        g = None
        if rng.random() < 0.3:
            g = 10.0 ** rng.uniform(-4, 0.5) * curvature.matvec(rng.normal(size=n) * np.abs(w).mean())
        problem = PruningProblem(w, curvature, g=g, offset=float(rng.choice([0.0, 0.0, 1.0])))
        problem = problem.within(_pattern(rng, kind, rows, d))
    except InputError:
        return None
    z = _best_mask(problem, rows, d)
    best = Fraction(problem.offset)
    linear = problem.linear_term().reshape(rows, d)
    for w_row, g_row, kept in zip(problem.w_bar.reshape(rows, d), linear, z.reshape(rows, d), strict=True):
        numbers = [[Fraction(float(value)) for value in values] for values in (w_row, g_row)]
        best += value_of(H, numbers[0], numbers[1], kept)
    return LayerCase(problem, best)


def _pattern(rng: np.random.Generator, kind: int, rows: int, d: int) -> Pattern:
    n = rows * d
    if kind == 0:
        return Cardinality(n, int(rng.integers(0, n + 1)))
    if kind == 1:
        return Quotas(np.full(rows, d), rng.integers(0, d + 1, rows))
    if kind == 2:
        return Quotas.n_of_m(n, *((2, 4) if d % 4 == 0 else (1, 2)), row=d)
    labels = rng.integers(0, 3, n)
    return Scattered(labels, rng.integers(0, np.bincount(labels, minlength=3) + 1))


def _best_mask(problem: PruningProblem, rows: int, d: int) -> Mask:
    """The mask of Z with the least value in float64."""
    masks = np.array(list(product((False, True), repeat=d)))
    values = _values(problem, masks, rows, d)
    Z = problem.Z
    if isinstance(Z, Scattered):
        choices = product(range(len(masks)), repeat=rows)
        allowed = [c for c in choices if Z.contains(masks[list(c)].ravel())]
        totals = [sum(values[r, m] for r, m in enumerate(c)) for c in allowed]
        return masks[list(allowed[int(np.argmin(totals))])].ravel()
    kept = masks.sum(1)
    if isinstance(Z, Cardinality):
        return _shared_out(masks, values, kept, rows * d - Z.prune)
    # No segment reaches beyond a row: what a row may keep is asked with the others pruned.
    alone = np.zeros((rows, d), dtype=bool)
    chosen = []
    for r in range(rows):
        fits = []
        for mask in masks:
            alone[r] = mask
            fits.append(Z.contains(alone.ravel()))
        alone[r] = False
        chosen.append(int(np.argmin(np.where(fits, values[r], np.inf))))
    return masks[chosen].ravel()


def _values(problem: PruningProblem, masks: Mask, rows: int, d: int) -> Matrix:
    """−½b_Sᵀ(H_SS)⁻¹b_S for every row and mask, shape (rows, masks)."""
    H = problem.curvature.row.dense()
    scale = np.sqrt(H.diagonal())
    U = H / scale / scale[:, None]
    b = ((problem.w_bar.reshape(rows, d) @ H) - problem.linear_term().reshape(rows, d)) / scale
    both = masks[:, :, None] & masks[:, None, :]
    systems = np.where(both, U, np.eye(d))
    right = np.where(masks[:, None, :], b, 0.0)
    solved = np.linalg.solve(systems, right.transpose(0, 2, 1))
    return np.asarray(-0.5 * np.einsum("mrd,mdr->rm", right, solved))


def _shared_out(masks: Mask, values: Matrix, kept: Matrix, room: int) -> Mask:
    """The best masks of the rows with ``room`` kept weights in all."""
    d = masks.shape[1]
    best = np.full(room + 1, 0.0)
    chosen: list[list[int]] = [[] for _ in range(room + 1)]
    for row in values:
        of_count = [int(np.flatnonzero(kept == k)[np.argmin(row[kept == k])]) for k in range(d + 1)]
        fresh, paths = np.full(room + 1, np.inf), [[] for _ in range(room + 1)]
        for total in range(room + 1):
            for k in range(min(d, total) + 1):
                value = best[total - k] + row[of_count[k]]
                if value < fresh[total]:
                    fresh[total], paths[total] = value, [*chosen[total - k], of_count[k]]
        best, chosen = fresh, paths
    return masks[chosen[room]].ravel()


def violation(drawn: LayerCase, bound: float) -> str:
    """What is wrong with a bound; empty where nothing is."""
    if np.isnan(bound) or bound == np.inf or (np.isfinite(bound) and Fraction(bound) > drawn.best):
        return f"{bound!r} above {float(drawn.best)!r}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exact.rounding_layers", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="layers to draw")
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    done = failed = 0
    reached = []
    seed = asked.first_seed
    with np.errstate(all="ignore"):
        while done < asked.count:
            drawn = layer_case(seed)
            seed += 1
            if drawn is None:
                continue
            done += 1
            bound = rows_bound(drawn.problem)[0]
            words = violation(drawn, bound)
            if words:
                failed += 1
                print(f"seed {seed - 1}: {words}", flush=True)  # noqa: T201
            if drawn.best > drawn.problem.offset:
                least = Fraction(drawn.problem.offset)
                reached.append(float((Fraction(max(bound, -1e300)) - least) / (drawn.best - least)))
    half = float(np.median(reached)) if reached else 1.0
    print(f"{done} layers: {failed} violations; in the median the bound reaches {half:.4f} of the optimum")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
