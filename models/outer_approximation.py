"""Joint pruning (CBS) by outer approximation: the master problem, a MILP that grows exact as tangents are added.

Sets
    I = {0, …, n − 1}                   weights
    J                                   eigenvectors of R that matter
Data
    c = H⁻¹b                            the unconstrained minimizer: f(w) = f(c) + ½ (w − c)ᵀH(w − c)
    V = U − f(c)                        for an incumbent of objective U; only w with f(w) ≤ U are of interest
    Δ_i = √(2V (H⁻¹)_ii)                the incumbent box (``cbs_opt.models.box``): |w_i − c_i| ≤ Δ_i
    H = diag(D) + Σ_j λ_j q_j q_jᵀ      a splitting with D > 0, λ ≥ 0
    σ_j = √(2V q_jᵀH⁻¹q_j)              then |q_jᵀ(w − c)| ≤ σ_j
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    u_i ∈ [−1, 1]                       the step of a kept weight: w_i = (c_i + Δ_i u_i) z_i
    s_i ≥ 0                             u_i²/z_i, or less
    y_j ∈ R                             the step along q_j: q_jᵀ(w − c) = σ_j y_j
    t_j ≥ 0                             y_j², or less
Objective
    min  (f − f(c))/V  =  Σ_i D_iΔ_i²/(2V) s_i + Σ_i D_ic_i²/(2V) (1 − z_i) + Σ_j λ_jσ_j²/(2V) t_j,   times ``scale``
Constraints
    (cardinality)  z ∈ Z                                               the pattern
    (most, least)  −z_i ≤ u_i ≤ z_i                            i ∈ I    a pruned weight takes no step of its own
    (must_keep)    z_i ≥ 1                                     |c_i| > Δ_i    every w with w_i = 0 has f(w) > U
    (direction)    σ_j y_j = Σ_i q_ij (Δ_i u_i − c_i (1 − z_i))  j ∈ J
    (tangents)     t_j ≥ 2a y_j − a²                           any a    of the square, at y_j = a
                   s_i ≥ 2a u_i − a² z_i                       any a    of the perspective of the square, at u_i = a z_i

Every square has an epigraph variable of its own, so that k tangents to each of n squares say what kⁿ gradient cuts to
their sum would (disaggregation). Each tangent holds for every w and z, so the optimum is a lower bound whichever
tangents there are. Once the tangents at the re-tuned weights of a mask are there, the value of the master at that mask
is f at these weights, since the gradient of f vanishes on the kept weights. Where f(w) ≤ U all variables lie in [−1,
1], whatever the condition and the units of H; eigenvectors with λ_jσ_j²/(2V) < ``NEGLIGIBLE``/n are left out, which
only lowers the bound. The model is not in the table of formulations, since without tangents it is a weak relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import masked_model
from cbs_opt.models.box import incumbent_box
from cbs_opt.models.joint import keep_indispensable
from cbs_opt.models.ranges import pattern_ranges

NEGLIGIBLE = 1e-9
"""The eigenvectors that are left out lower the bound by at most this part of V, all together."""


FLAT = 5e-5
"""Tangents at |a| below this are not added, and s ≥ 0 and t ≥ 0 stand for them: HiGHS takes coefficients of 1e-9, as
their a² nearly is, for zeros."""

SMALL = 2e-9
"""Coefficients of (direction) below this are left out, and accounted for (``Master.left_out``): HiGHS would drop them
without a word."""


@dataclass(frozen=True, eq=False)
class Point:
    """Values of the variables: z, u, s of shape (n,); y, t of shape (|J|,)."""

    z: Vector
    u: Vector
    s: Vector
    y: Vector
    t: Vector


@dataclass(frozen=True, eq=False)
class Master:
    """The numbers of the master problem, and its Pyomo model.

    Parameters
    ----------
    model : ConcreteModel
        The master problem as built so far.
    c, reach : array, shape (n,)
        c and Δ.
    axes : array, shape (n, |J|)
        q_j/σ_j, one a column.
    separable, pruned, coupled : array, shapes (n,), (n,), (|J|,)
        Objective coefficients of s, 1 − z and t, without ``scale``.
    left_out : float
        What the coefficients that were left out may have added to the optimum, in units of V.
    ranges : float
        How far the variables and rows of the pattern itself can move, added up (``cbs_opt.models.ranges``).
    discrete : list
        Every discrete variable, of z and of the pattern itself, with the domain that it had before it was relaxed.
    """

    model: Any
    c: Vector
    reach: Vector
    axes: Matrix
    separable: Vector
    pruned: Vector
    coupled: Vector
    left_out: float
    ranges: float
    discrete: list[tuple[Any, Any]]

    def point_of(self, w: Vector, mask: Mask) -> Point:
        """The values of the variables at the weights ``w`` on the support ``mask``, with exact squares."""
        d = w - self.c
        u = np.where(mask, d / self.reach, 0.0)
        y = self.axes.T @ d
        return Point(mask.astype(np.float64), u, u * u, y, y * y)

    def value_at(self, point: Point) -> float:
        """The objective at ``point``, in units of V."""
        return float(self.separable @ point.s + self.pruned @ (1.0 - point.z) + self.coupled @ point.t)

    def add_tangents(self, point: Point, least: float) -> list[Any]:
        """Add the tangents whose violation at ``point`` is worth more than ``least`` of V; the new constraints.

        With ``least`` < 0 the tangents that are tight at the point are added as well.
        """
        model = self.model
        z, u = point.z, np.clip(point.u, -point.z, point.z)
        a = np.divide(u, z, out=np.zeros_like(u), where=z > 1e-9)
        a[np.abs(a) < FLAT] = 0.0
        squares = (self.separable * (a * (2 * u - a * z) - point.s) > least) & (a != 0.0)
        rows = [
            model.tangents.add(model.s[i] - 2 * slope * model.u[i] + slope * slope * model.z[i] >= 0)
            for i, slope in ((int(i), float(a[i])) for i in np.flatnonzero(squares))
        ]
        violated = (self.coupled * (point.y**2 - point.t) > least) & (np.abs(point.y) >= FLAT)
        rows += [
            model.tangents.add(model.t[j] - 2 * slope * model.y[j] >= -slope * slope)
            for j, slope in ((int(j), float(point.y[j])) for j in np.flatnonzero(violated))
        ]
        return rows


def build(problem: PruningProblem, *, incumbent: float, D: Vector, scale: float = 1.0) -> Master:
    """The master problem of ``problem``, whose pattern must be set: without tangents, its discrete variables relaxed.

    Parameters
    ----------
    incumbent : float
        U, the objective of a feasible w, above the unconstrained minimum.
    D : array, shape (n,)
        The diagonal that is split off, in the units of H. The caller has made sure that H − diag(D) is positive
        semidefinite: negative eigenvalues are taken for round-off and left out.
    scale : float
        Factor of the objective.

    Raises
    ------
    InputError
        U does not exceed the unconstrained minimum.
    UnsupportedError
        A variable that the pattern adds has no bounds.
    """
    from pyomo.environ import (
        Constraint,
        ConstraintList,
        NonNegativeReals,
        Objective,
        RangeSet,
        Reals,
        Var,
        minimize,
        quicksum,
    )

    c = problem.minimizer()
    V = float(incumbent) - problem.objective(c)
    if not V > 0:
        raise InputError(f"incumbent: is {incumbent:.9g}, not above the unconstrained minimum; no master is needed")
    H = problem.curvature.dense()
    box = incumbent_box(problem, incumbent)
    reach = (box.upper - box.lower) / 2
    eigenvalues, Q = np.linalg.eigh(H - np.diag(D))
    sigma = np.sqrt(2 * V * np.einsum("ij,ij->j", Q, problem.curvature.solve(Q)))
    coupled = np.maximum(eigenvalues, 0.0) * sigma**2 / (2 * V)
    matters = coupled > NEGLIGIBLE / problem.n
    axes, coupled = Q[:, matters] / sigma[matters], coupled[matters]
    separable, pruned = D * reach**2 / (2 * V), D * c**2 / (2 * V)

    model = masked_model(problem, "outer_approximation")
    ranges = pattern_ranges(problem.Z)
    discrete = [(x, x.domain) for x in model.component_data_objects(Var) if not x.is_continuous()]
    for x, _ in discrete:
        least, most = x.bounds
        x.domain = Reals
        x.setlb(least)
        x.setub(most)
    model.J = RangeSet(0, len(coupled) - 1, doc="eigenvectors that matter")
    model.u = Var(model.I, domain=Reals, bounds=(-1, 1), doc="step of a kept weight from the minimizer")
    model.s = Var(model.I, domain=NonNegativeReals, doc="perspective of its square, or less")
    model.y = Var(model.J, domain=Reals, doc="step along an eigenvector")
    model.t = Var(model.J, domain=NonNegativeReals, doc="its square, or less")
    model.loss = Objective(
        expr=quicksum(scale * separable[i] * model.s[i] + scale * pruned[i] * (1 - model.z[i]) for i in model.I)
        + quicksum(scale * coupled[j] * model.t[j] for j in model.J),
        sense=minimize,
    )
    model.most = Constraint(model.I, rule=lambda m, i: m.u[i] - m.z[i] <= 0, doc="a pruned weight takes no step")
    model.least = Constraint(model.I, rule=lambda m, i: m.u[i] + m.z[i] >= 0, doc="a pruned weight takes no step")
    keep_indispensable(model, problem, box)
    steps, shifts = axes * reach[:, None], axes * c[:, None]
    lost = sum(np.where(np.abs(part) < SMALL, np.abs(part), 0.0).sum(axis=0) for part in (steps, shifts))
    steps, shifts = (np.where(np.abs(part) < SMALL, 0.0, part) for part in (steps, shifts))

    def direction(m: Any, j: int) -> Any:
        terms = (float(steps[i, j]) * m.u[i] + float(shifts[i, j]) * m.z[i] for i in m.I)
        return quicksum(terms) - m.y[j] == float(shifts[:, j].sum())

    model.direction = Constraint(model.J, rule=direction, doc="what the steps and the pruned weights add up to")
    model.tangents = ConstraintList(doc="of the squares and their perspectives")
    return Master(model, c, reach, axes, separable, pruned, coupled, 3.0 * float(coupled @ lost), ranges, discrete)
