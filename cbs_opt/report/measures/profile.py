"""Performance profiles (E. D. Dolan & J. J. Moré, Mathematical Programming 91, 2002, 201–213).

With t_{p,s} the cost of method s on problem p, the ratio to the best method is

    r_{p,s} = t_{p,s} / min_s t_{p,s},        r_{p,s} = ∞ where s did not solve p,

and the profile of s is the share of the problems it solves within a factor τ of the best:

    ρ_s(τ) = |{p : r_{p,s} ≤ τ}| / |P|.

ρ_s(1) is the share of problems on which s is (one of) the best, ρ_s(∞) the share it solves at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Vector

MOST_STEPS = 160
"""The most steps of a curve; more could not be told apart on a screen."""


@dataclass(frozen=True, eq=False)
class Profile:
    """A step function: ``shares[i]`` of the problems have a ratio ≤ τ for τ in [``ratios[i]``, ``ratios[i + 1]``)."""

    ratios: Vector
    shares: Vector

    def at(self, ratio: float) -> float:
        """ρ(τ), the share of the problems with a ratio of at most τ = ``ratio``."""
        position = int(np.searchsorted(self.ratios, ratio, side="right")) - 1
        return float(self.shares[position]) if position >= 0 else 0.0


def cost_ratios(costs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The ratios r of the costs t > 0, both of shape (problems, methods); r is ∞ where t is, which means unsolved."""
    if costs.size == 0:
        return np.empty(costs.shape)
    best = costs.min(axis=1, keepdims=True)
    return np.where(np.isfinite(costs), costs / np.where(np.isfinite(best), best, 1.0), np.inf)


def excess_ratios(objectives: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The ratios 1 + (f − f*)/|f*| of objectives f to the best one f*, shape (problems, methods); ∞ where f is NaN.

    That is f/f* if f* > 0, and keeps its meaning if a first-order term makes f* negative. If f* is 0, every objective
    above it has the ratio ∞.
    """
    if objectives.size == 0:
        return np.empty(objectives.shape)
    known = np.where(np.isnan(objectives), np.inf, objectives)
    best = known.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        excess = (known - best) / np.abs(best)
    return np.where(np.isfinite(known), 1.0 + np.where(known == best, 0.0, excess), np.inf)


def profile(ratios: NDArray[np.floating[Any]], most: int = MOST_STEPS) -> Profile:
    """The profile of one method from its ratios, shape (problems,).

    If there are more than ``most`` different ratios, steps are left out: between the points that are left the curve
    then lies below the true one, never above it.
    """
    problems = len(ratios)
    if problems == 0:
        return Profile(np.array([1.0]), np.array([0.0]))
    solved = np.sort(ratios[np.isfinite(ratios)])
    steps, counts = np.unique(solved, return_counts=True)
    shares = np.cumsum(counts) / problems
    if len(steps) == 0 or steps[0] > 1.0:
        steps, shares = np.concatenate([[1.0], steps]), np.concatenate([[0.0], shares])
    if len(steps) > most:
        # The first, the last, and those between them evenly spread over the shares.
        levels = np.linspace(shares[0], shares[-1], most)
        chosen = np.unique(np.clip(np.searchsorted(shares, levels - 1e-12), 0, len(steps) - 1))
        steps, shares = steps[chosen], shares[chosen]
    return Profile(steps, shares)
