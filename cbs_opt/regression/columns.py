"""Columns of data as they enter a regression, centred and scaled, and how far rounding has moved each of them.

The mean and the scale of a column are made of sums without rounding (``math.fsum``), and whatever else is done to it is
done entry by entry: the same numbers come out on every machine.

A column x centred as x₁ = x − μ₁ and once more as x₂ = x₁ − μ₂ differs from the exactly centred one by what the two
subtractions round, at most ½eps of each entry of their results, and by the mean that is left, so that in the 2-norm

    ‖x₂ − x̃‖ ≤ ½eps(‖x₁‖ + ‖x₂‖) + √m |mean(x₂)|,

for centring again what was rounded makes it no longer. The second pass is for columns that lie far from zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector

CAUTION = 1.0 + 1e-6
"""For the roundings of a norm and of a sum of errors."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns that enter a regression.

    Parameters
    ----------
    values : array, shape (m, p)
    mean, scale : arrays, shape (p,)
        values ≈ (data − mean)/scale; zeros and ones where nothing was centred or scaled.
    error : array, shape (p,)
        What rounding may have added to each column, in the 2-norm.
    """

    values: Matrix
    mean: Vector
    scale: Vector
    error: Vector

    @classmethod
    def of(cls, data: Matrix, *, centred: bool, scaled: bool) -> Columns:
        """The columns of ``data``, shape (m, p).

        Parameters
        ----------
        centred : bool
            Their means are taken off.
        scaled : bool
            They are divided by the roots of their mean squares, which after centring are the standard deviations
            (those that divide by m). A column of zeros is left as it is.
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
    """The mean of every column, shape (p,): the sum is rounded once, and so is the quotient."""
    return np.array([math.fsum(column.tolist()) / len(column) for column in data.T])


def norms(data: Matrix) -> Vector:
    """The 2-norm of every column, shape (p,)."""
    return np.sqrt(np.einsum("ij,ij->j", data, data))
