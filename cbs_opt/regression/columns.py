"""Columns of data as they enter a regression, centred and scaled, and bounds on how far rounding has moved them.

The mean and the scale of a column come from sums without rounding (``math.fsum``), and all other operations work entry
by entry, so that every machine computes the same numbers.

A column x is centred twice, as x₁ = x − μ₁ and x₂ = x₁ − μ₂, for the sake of columns that lie far from zero. It differs
from the exactly centred column x̃ by the rounding of the two subtractions, at most ½eps of each entry of their results,
and by the mean that is left. Since centring a vector of errors exactly does not make it longer, in the 2-norm

    ‖x₂ − x̃‖ ≤ ½eps(‖x₁‖ + ‖x₂‖) + √m |mean(x₂)|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.curvature.second_moment import CAUTION


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns as they enter a regression.

    Parameters
    ----------
    values : array, shape (m, p)
        The columns, values ≈ (data − mean)/scale.
    mean, scale : arrays, shape (p,)
        What was subtracted from each column and what it was divided by; zeros and ones without centring or scaling.
    error : array, shape (p,)
        A bound on how far rounding has moved each column of ``values``, in the 2-norm.
    """

    values: Matrix
    mean: Vector
    scale: Vector
    error: Vector

    @classmethod
    def of(cls, data: Matrix, *, centred: bool, scaled: bool) -> Columns:
        """The columns of ``data``, centred and scaled if asked for.

        Parameters
        ----------
        data : array, shape (m, p)
            The columns as they are given.
        centred : bool
            Whether the mean of each column is subtracted.
        scaled : bool
            Whether each column is divided by its root mean square, which after centring is its standard deviation (the
            one that divides by m). A column of zeros is left as it is.
        """
        m, p = data.shape
        values, mean, scale, error = data, np.zeros(p), np.ones(p), np.zeros(p)
        if centred:
            mean = means(data)
            once = data - mean
            left = means(once)
            values, mean = once - left, mean + left
            error = 0.5 * EPS * (norms(once) + norms(values)) + math.sqrt(m) * np.abs(means(values))
        if scaled:
            root = np.sqrt(means(values * values))
            scale = np.where(root > 0.0, root, 1.0)
            values = values / scale
            # The root is off by 3 units of rounding and by what centring rounded, each quotient by one more.
            error = 2.0 * error / scale + 2.0 * EPS * norms(values)
        return cls(values, mean, scale, CAUTION * error)


def means(data: Matrix) -> Vector:
    """The mean of every column, shape (p,); only the sum and the quotient are rounded, once each."""
    return np.array([math.fsum(column.tolist()) / len(column) for column in data.T])


def norms(data: Matrix) -> Vector:
    """The 2-norm of every column, shape (p,)."""
    return np.sqrt(np.einsum("ij,ij->j", data, data))
