"""A subset of columns, its fit, and what is proven about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Solution, SolutionStatus
from cbs_opt.kernel.words import counted, duration


@dataclass(frozen=True, eq=False, repr=False)
class Subset(Displayed):
    """What ``best_subset`` found: ŷ = intercept + X @ coefficients, at most k coefficients not zero.

    Parameters
    ----------
    support : integer array, shape (k,) or shorter
        The indices of the columns of X that are used, ascending.
    coefficients : array, shape (p,)
        The coefficients in the units of X and y as they were given; zero outside the support.
    intercept : float
        The intercept in the units of y; 0 where none was asked for.
    rss : float
        ‖y − ŷ‖², the residual sum of squares.
    r2 : float
        1 − rss/‖y − mean(y)‖²; without an intercept 1 − rss/‖y‖².
    problem : PruningProblem
        The pruning problem that was solved, with its pattern: one weight for each column of X, and one for y, which
        every mask prunes. ``prove(found.problem)`` makes a certificate, and ``found.problem.save(path)`` a block file.
    solution : Solution
        The solution of this problem: mask, weights, notes, and why the search ended.
    """

    support: NDArray[np.int64]
    coefficients: Vector
    intercept: float
    rss: float
    r2: float
    problem: PruningProblem
    solution: Solution

    @property
    def objective(self) -> float:
        """rss/(2m) + ½·ridge·‖w‖², where w are the coefficients of the columns, standardized if asked for."""
        return self.solution.objective

    @property
    def bound(self) -> float:
        """The proven lower bound: no subset of at most k columns has a smaller objective."""
        return self.solution.bound

    @property
    def gap(self) -> float:
        """The relative gap (objective − bound)/objective."""
        return self.solution.gap

    @property
    def solution_status(self) -> SolutionStatus:
        """'optimal' where the gap is within the one that was asked for, else 'feasible'."""
        return self.solution.solution_status

    def to_dict(self) -> dict[str, Any]:
        """The fit, and what is proven about it, as plain data for JSON."""
        return {
            "support": self.support.tolist(),
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
            "rss": self.rss,
            "r2": self.r2,
            **{name: value for name, value in self.solution.to_dict().items() if name not in ("kept", "weights")},
        }

    def _card(self) -> Card:
        first, _, second = str(self).partition("\n")
        return Card(first, {"fit": second}, notes=self.solution.notes)

    def __str__(self) -> str:
        proven = "proven optimal" if self.solution_status is SolutionStatus.OPTIMAL else "best found"
        return (
            f"{len(self.support)} of {len(self.coefficients)} columns, {proven}: {self.support.tolist()}\n"
            f"R² {self.r2:.6g}, RSS {self.rss:.6g}, objective {self.objective:.8g}, bound {self.bound:.8g} "
            f"(gap {self.gap:.1e}), {counted(self.solution.nodes, 'node')} in {duration(self.solution.seconds)}"
        )
