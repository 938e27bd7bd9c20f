"""Bounds against the optimum in rational arithmetic, on tiny problems whose curvature is made of the user's arrays.

Nothing here asks the package what H is: it is formed of the arrays as fractions, every mask of the pattern is re-tuned
(or taken as trained) in fractions, and a bound above the smallest value by any amount is wrong.

Factors: n 2 … 6, up to 5,000 rows, λ 1e-14 … 1e-6 of the mean diagonal; columns nearly constant, in equal pairs, of
small integers, in units 1e±4; float32 and float64. Others: matrices, with damping, asymmetric by rounding, samples
through ``from_gradients`` and ``from_activations``, diagonals, blocks, rows of a layer; quotas, labels in any order.
All at scales 1e±8, with ties and zeros in w̄, with and without a first-order term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from benchmarks.exact_optimum import Table, value_of
from benchmarks.recording import Row
from cbs_opt import (
    BlockDiagonalCurvature,
    Cardinality,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    PruningProblem,
    Quotas,
    RowsCurvature,
    lower_bound,
    solve,
)
from cbs_opt.errors import InputError, SolverError
from cbs_opt.evaluation.certify import certify
from cbs_opt.kernel.arrays.types import Mask, Matrix
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.solvers.bounds.dual import dual_bound
from cbs_opt.solvers.bounds.rows import rows_bound
from cbs_opt.testing.scattered import Scattered

WEAK, WEAK_FROM = 0.03, 1e-10
"""A bound lower than the optimum by more than this part of it counts as weak, if λ is so much of the mean diagonal."""


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, the H that its arrays define, and λ as a part of the mean diagonal."""

    problem: PruningProblem
    H: Table
    damping: float

    def tiny(self) -> Fraction:
        """1e-14 of what pruning every weight by itself would cost."""
        squares = (Fraction(float(w)) ** 2 * self.H[i][i] for i, w in enumerate(self.problem.w_bar))
        return Fraction(1e-14) * sum(squares, Fraction(0))

    def optima(self) -> tuple[Fraction, Fraction]:
        """The smallest f, with the weights re-tuned, and as trained."""
        w = [Fraction(float(value)) for value in self.problem.w_bar]
        g = [Fraction(float(value)) for value in self.problem.linear_term()]
        n, offset = self.problem.n, Fraction(self.problem.offset)
        masks = [z for bits in product((False, True), repeat=n) if self.problem.Z.contains(z := np.array(bits))]
        largest = [z for z in masks if not any(_in(self.problem, z, i) for i in np.flatnonzero(~z))]
        joint = min(value_of(self.H, w, g, z) for z in largest)
        return offset + joint, offset + min(_as_trained(self.H, w, g, z) for z in masks)


def _with(z: Mask, i: int) -> Mask:
    more = z.copy()
    more[i] = True
    return more


def _in(problem: PruningProblem, z: Mask, i: int) -> bool:
    return problem.Z.contains(_with(z, i))


def _as_trained(H: Table, w: Sequence[Fraction], g: Sequence[Fraction], z: Mask) -> Fraction:
    pruned = np.flatnonzero(~z).tolist()
    half = sum((w[i] * H[i][j] * w[j] for i in pruned for j in pruned), Fraction(0)) / 2
    return half - sum((g[i] * w[i] for i in pruned), Fraction(0))


# ---------------------------------------------------------------- problems


def samples(rng: np.random.Generator, n: int, most: int = 5000) -> Matrix:
    """An array of samples of an awkward kind, shape (m, n)."""
    m = int(np.exp(rng.uniform(0.0, np.log(most))))
    kind = rng.integers(0, 7)
    A = rng.normal(size=(m, n))
    if kind <= 1:
        A = np.tile(rng.uniform(1, 2, n), (m, 1))
        if kind == 1:
            A = A * (1.0 + 10.0 ** rng.uniform(-12, -2) * rng.normal(size=A.shape))
    elif kind == 2:
        A[:, n // 2 :] = A[:, : n - n // 2] * rng.choice([-1.0, 1.0])
        A = A + 10.0 ** rng.uniform(-12, -4) * rng.normal(size=A.shape)
    elif kind == 3:
        A = rng.integers(-2, 3, A.shape).astype(np.float64)
    elif kind == 4:
        A = A * 10.0 ** rng.uniform(-4, 4, n)
    elif kind == 5:
        A = np.maximum(A, 0.0) + rng.uniform(0, 3)
    A = A * 10.0 ** rng.uniform(-4, 4)
    return A.astype(np.float32).astype(np.float64) if rng.random() < 0.3 else A


def _integers(A: Matrix) -> tuple[Any, int]:
    """A as Python integers, and the exponent of their unit."""
    mantissa, exponent = np.frexp(A)
    least = int(exponent[A != 0].min(initial=0)) - 53
    shift = np.where(A != 0, exponent - 53 - least, 0)
    whole = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
    return whole * np.vectorize(lambda s: 1 << int(s), otypes=[object])(shift), least


def moment(A: Matrix, damping: float, divisor: int = 1) -> Table:
    """AᵀA/divisor + λI as fractions."""
    whole, exponent = _integers(A)
    unit = Fraction(2) ** (2 * exponent) / divisor
    H = [[int(value) * unit for value in row] for row in whole.T.dot(whole)]
    return _damped(H, damping)


def _damped(H: Table, damping: float) -> Table:
    return [[value + Fraction(damping) * (i == j) for j, value in enumerate(row)] for i, row in enumerate(H)]


def _mean(A: Matrix) -> float:
    return float((A * A).sum(axis=0).mean()) or 1.0


def _symmetric(H: Matrix) -> Table:
    n = len(H)
    return [[(Fraction(float(H[i, j])) + Fraction(float(H[j, i]))) / 2 for j in range(n)] for i in range(n)]


def _factor(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    A = samples(rng, n)
    part = 10.0 ** rng.uniform(-14, -6)
    damping = part * _mean(A)
    stored = A.astype(np.float32) if (A.astype(np.float32) == A).all() else A
    return FactorCurvature(stored, damping), moment(A, damping), part


def _dense(rng: np.random.Generator, n: int, damped: bool) -> tuple[Curvature, Table, float]:
    A = samples(rng, n, 200)
    H = A.T @ A + (0.0 if damped else 10.0 ** rng.uniform(-13, -2)) * _mean(A) * np.eye(n)
    if rng.random() < 0.5:
        H = H * (1.0 + rng.choice([-1.0, 0.0, 1.0], (n, n)) * np.finfo(np.float64).eps)  # asymmetric by rounding
    else:
        H = (H + H.T) / 2
    part = 10.0 ** rng.uniform(-14, 0) if damped else 0.0
    damping = part * float(H.diagonal().mean())
    return DenseCurvature(H, damping), _damped(_symmetric(H), damping), part


def _diagonal(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    d = 10.0 ** rng.uniform(-6, 6, n)
    damping = float(10.0 ** rng.uniform(-8, 2))
    return (
        DiagonalCurvature(d, damping),
        _damped([[Fraction(float(x)) * (i == j) for j in range(n)] for i, x in enumerate(d)], damping),
        1.0,
    )


def _samples(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    A = samples(rng, n)
    part = 10.0 ** rng.uniform(-13, 0)
    damping = part * _mean(A) / len(A)
    make = PruningProblem.from_gradients if rng.random() < 0.5 else PruningProblem.from_activations
    return make(np.ones(n), A, damping=damping).curvature, moment(A, damping, len(A)), part


def _blocks(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    cut = int(rng.integers(1, n))
    makers: list[Callable[..., tuple[Curvature, Table, float]]] = [_factor, _damped_dense, _diagonal, _samples]
    parts = [makers[int(rng.integers(0, 4))](rng, size) for size in (cut, n - cut)]
    H = [[Fraction(0)] * n for _ in range(n)]
    for start, (_, table, _) in zip((0, cut), parts, strict=True):
        for i, row in enumerate(table):
            H[start + i][start : start + len(row)] = row
    return BlockDiagonalCurvature([part[0] for part in parts]), H, min(part[2] for part in parts)


def _damped_dense(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    return _dense(rng, n, True)


def _rows(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    d = max(1, n // 2)
    one, table, part = _damped_dense(rng, d) if rng.random() < 0.5 else _samples(rng, d)
    if not isinstance(one, DenseCurvature):
        one, table, part = _damped_dense(rng, d)
    H = [[table[i % d][j % d] if i // d == j // d else Fraction(0) for j in range(2 * d)] for i in range(2 * d)]
    return RowsCurvature(one, 2), H, part


def _curvature(rng: np.random.Generator, n: int) -> tuple[Curvature, Table, float]:
    kind = int(rng.integers(0, 7))
    if kind == 0:
        return _dense(rng, n, False)
    makers = (_damped_dense, _samples, _samples, _diagonal, _blocks, _rows)
    return makers[kind - 1](rng, n)


def case(seed: int, factors: bool) -> Case | None:
    """A problem with its pattern; None where the draw is refused."""
    rng = np.random.default_rng([seed, int(factors)])
    n = int(rng.integers(2, 7))
    try:
        curvature, H, part = _factor(rng, n) if factors else _curvature(rng, n)
        n = curvature.n
        w = rng.normal(size=n)
        shape = rng.integers(0, 4)
        if shape == 0:
            w = np.ones(n)
        elif shape == 1:
            w = rng.choice([-1.0, 0.0, 1.0], n)
        w = w * 10.0 ** rng.uniform(-4, 4)
        g = None
        if rng.random() < 0.3:
            g = 10.0 ** rng.uniform(-4, 0.5) * curvature.matvec(rng.normal(size=n) * np.abs(w).mean())
        offset = float(rng.choice([0.0, 0.0, 0.0, 1.0]))
        problem = PruningProblem(w, curvature, _pattern(rng, n, factors), g=g, offset=offset, name=f"seed {seed}")
    except InputError:
        return None
    return Case(problem, H, part)


def _pattern(rng: np.random.Generator, n: int, factors: bool) -> Pattern:
    if not factors and rng.random() < 0.2:
        cut = int(rng.integers(1, n))
        if rng.random() < 0.5:
            labels = rng.integers(0, 3, n)
            return Scattered(labels, rng.integers(0, np.bincount(labels, minlength=3) + 1))
        return Quotas([cut, n - cut], [int(rng.integers(0, cut + 1)), int(rng.integers(0, n - cut + 1))])
    return Cardinality(n, int(rng.integers(1, n)))


# ---------------------------------------------------------------- bounds


def _certified(problem: PruningProblem) -> float:
    return certify(problem, problem.Z.argmax(problem.w_bar**2), pattern=problem.Z).bound


def _solved(method: str, **options: Any) -> Callable[[PruningProblem], float]:
    return lambda problem: solve(problem, method, **options).bound


def _selected(method: str) -> Callable[[PruningProblem], float]:
    return lambda problem: solve(problem, method).selection_bound


BOUNDS: dict[str, tuple[Callable[[PruningProblem], float], int, int]] = {
    "lower_bound": (lambda problem: lower_bound(problem).value, 0, 1),
    "dual": (lambda problem: dual_bound(problem)[0], 0, 4),
    "rows": (lambda problem: rows_bound(problem)[0], 0, 16),
    "enumeration": (_solved("enumeration"), 0, 1),
    "bnb": (_solved("bnb"), 0, 1),
    "certify": (_certified, 0, 1),
    "highs-oa": (_solved("highs-oa"), 0, 1),
    "scip": (_solved("scip", time_limit=20.0), 0, 32),  # at λ 1e-12 it may branch without end
    "enumeration-selection": (_selected("enumeration-selection"), 1, 1),
    "bnb-selection": (_selected("bnb-selection"), 1, 1),
    "highs-selection": (_selected("highs-selection"), 1, 1),
}
"""What is asked, whether of re-tuned weights (0) or of weights as trained (1), and of every how manieth problem."""

EXACT = ("enumeration", "bnb", "certify", "highs-oa", "enumeration-selection", "bnb-selection", "highs-selection")
LABELS = ("lower_bound", "dual", "rows", "enumeration", "bnb", "certify", "enumeration-selection")


def judged(name: str, drawn: Case, best: Fraction) -> tuple[str, str]:
    """('refused', 'wrong', 'weak' or ''), and what is wrong."""
    try:
        with np.errstate(all="ignore"):
            found = BOUNDS[name][0](drawn.problem)
    except (InputError, SolverError) as error:
        return "refused", str(error)
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    if np.isnan(found) or found == np.inf or (np.isfinite(found) and Fraction(found) > best):
        return "wrong", f"{found!r} above {float(best)!r}"
    short = best - (Fraction(found) if np.isfinite(found) else Fraction(-(10**300)))
    weak = name in EXACT and drawn.damping >= WEAK_FROM and short > Fraction(WEAK) * abs(best) + drawn.tiny()
    return ("weak", f"{found!r} below {float(best)!r}") if weak else ("", "")


def fuzz(count: int, first_seed: int, factors: bool, names: Sequence[str] = tuple(BOUNDS)) -> Iterator[Row]:
    """One row per bound."""
    found: dict[str, dict[str, list[str]]] = {name: {"refused": [], "wrong": [], "weak": []} for name in names}
    asked = dict.fromkeys(names, 0)
    done, seed = 0, first_seed
    while done < count:
        drawn = case(seed, factors)
        seed += 1
        if drawn is None:
            continue
        done += 1
        best = drawn.optima()
        for name in names:
            _, which, every = BOUNDS[name]
            if done % every or (name not in LABELS and not isinstance(drawn.problem.Z, Cardinality)):
                continue
            asked[name] += 1
            verdict, words = judged(name, drawn, best[which])
            if verdict:
                found[name][verdict].append(f"seed {seed - 1}: {words}")
    for name in names:
        yield {
            "kind": "factors" if factors else "others",
            "engine": name,
            "blocks": asked[name],
            "first_seed": first_seed,
            "refused": len(found[name]["refused"]),
            "weak": found[name]["weak"],
            "violations": found[name]["wrong"],
        }
