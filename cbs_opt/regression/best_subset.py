"""Best subset selection: from data to the columns that explain a response best, with a proof.

    min over (b, w) of ‖y − b − Xw‖²/(2m) + ½ρ‖w‖²,   at most k of the p coefficients w_j not zero,

is solved as the pruning problem of ``least_squares``, by branch and bound (``solvers.exact.bnb``).

References: A. Miller, *Subset Selection in Regression*, 2nd edition, 2002; D. Bertsimas, A. King & R. Mazumder, *Best
subset selection via a modern optimization lens*, Annals of Statistics 44 (2016); H. Hazimeh, R. Mazumder & A. Saab,
*Sparse regression at scale*, Mathematical Programming 196 (2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.arrays.validate import as_array, as_nonnegative
from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.regression.columns import Columns
from cbs_opt.regression.least_squares import least_squares
from cbs_opt.regression.result import Subset

MOST_COLUMNS = 999
"""The largest number of columns of X: with the response they are the thousand weights that branch and bound takes."""

LARGEST = 2.0**420
"""The largest entry of a column, in absolute value, lies between 1/LARGEST and LARGEST, so that what is left of the
column after centring still has squares that float64 holds to the last digit."""


def best_subset(
    X: ArrayLike,
    y: ArrayLike,
    k: int,
    *,
    ridge: float = 0.0,
    intercept: bool = True,
    standardize: bool = False,
    gap: float = GAP_TOLERANCE,
    time_limit: float | None = None,
) -> Subset:
    """Find the at most ``k`` columns of X that explain y best in the sense of least squares, with a proof.

    The objective rss/(2m) + ½·ridge·‖w‖² is minimized over the coefficients w, at most k of them not zero, and the
    intercept, which the ridge does not penalize.

    Parameters
    ----------
    X : array, shape (m, p)
        One observation a row; finite real numbers, p up to 999.
    y : array, shape (m,)
        The response.
    k : int
        The largest number of columns, 1 ≤ k ≤ p.
    ridge : float
        ρ ≥ 0, in the units of the mean squares of X. It has to be above 0 where columns depend linearly on each other,
        as they do wherever p ≥ m.
    intercept : bool
        Whether a constant is fitted, too; X and y are then centred.
    standardize : bool
        Whether the ridge penalizes the coefficients of standardized columns, which have unit standard deviation (unit
        mean square without intercept). Without a ridge it changes nothing. The coefficients that are returned are in
        the units of X in any case.
    gap : float
        Relative gap (objective − bound)/objective at which the search may stop.
    time_limit : float, optional
        Seconds after which the search stops and returns what it has found and proven.

    Returns
    -------
    Subset
        The columns, their coefficients and fit, and the proven bound. The bound holds for X and y as they are given:
        it allows for the rounding in centring, scaling and forming XᵀX.

    Raises
    ------
    InputError
        An array has a wrong shape, holds a NaN or an infinity, has a constant column or a column whose largest entry is
        beyond 1e±126, or a ridge is needed. The message says which.
    TooLargeError
        X has more than 999 columns.
    """
    data, response = as_array(X, "X", 2), as_array(y, "y", 1)
    _require_fit(data, response)
    _require_squares(data, "X: column {}")
    _require_squares(response[:, None], "y")
    k = _checked(k, data.shape[1])
    ridge = as_nonnegative(ridge, "ridge")
    x = Columns.of(data, centred=intercept, scaled=standardize)
    centred = Columns.of(response[:, None], centred=intercept, scaled=False)
    _require_variation(x.values, centred.values[:, 0], "constant" if intercept else "zero throughout")
    problem = least_squares(x, centred, k, ridge, f"best subset, {k} of {data.shape[1]}")
    solution = solve(problem, "bnb", gap=gap, time_limit=time_limit)
    entered = solution.weights[:-1]
    coefficients = entered / x.scale
    residual = centred.values[:, 0] - x.values @ entered
    rss = float(residual @ residual)
    return Subset(
        support=np.flatnonzero(solution.mask[:-1]).astype(np.int64),
        coefficients=coefficients,
        intercept=float(centred.mean[0] - x.mean @ coefficients),
        rss=rss,
        r2=1.0 - rss / float(centred.values[:, 0] @ centred.values[:, 0]),
        problem=problem,
        solution=solution,
    )


def _require_fit(X: Matrix, y: Vector) -> None:
    if len(X) != len(y):
        raise InputError(f"y: has {len(y)} entries, but X has {len(X)} rows; they must agree")
    if X.shape[1] > MOST_COLUMNS:
        raise TooLargeError(
            f"X: has {X.shape[1]:,} columns; branch and bound takes at most {MOST_COLUMNS}, leave some out beforehand"
        )


def _require_squares(columns: Matrix, name: str) -> None:
    size = np.abs(columns).max(axis=0)
    beyond = np.flatnonzero((size > LARGEST) | ((size > 0.0) & (size < 1.0 / LARGEST)))
    if len(beyond):
        raise InputError(
            f"{name.format(beyond[0])} has a largest entry of {size[beyond[0]]:.3g}, whose square float64 cannot hold; "
            "measure it in other units"
        )


def _checked(k: int, p: int) -> int:
    number = isinstance(k, (int, float, np.integer, np.floating)) and not isinstance(k, bool)
    if not (number and 1 <= k <= p and k % 1 == 0):
        raise InputError(f"k: is {k}; a whole number between 1 and the {p} columns of X is needed")
    return int(k)


def _require_variation(X: Matrix, y: Vector, what: str) -> None:
    still = np.flatnonzero(~X.any(axis=0))
    if len(still):
        raise InputError(f"X: column {still[0]} is {what}, so that it explains nothing; leave it out")
    if not y.any():
        raise InputError(f"y: is {what}; there is nothing to explain")
