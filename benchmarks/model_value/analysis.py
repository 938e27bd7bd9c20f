"""What the log says: certified gaps with the best bound of each model, relative objectives, and rank correlations."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import ranks
from benchmarks.model_value.grid import NOTHING, family, model_name
from cbs_opt.kernel.result import relative_gap


@dataclass(frozen=True)
class Point:
    """One pruned network.

    Parameters
    ----------
    model, family, method : str
        The quadratic model in words, its kind of curvature, the selector.
    sparsity : float
    seed : int
    accuracy, accuracy_dense : float
        Share of the validation images.
    images : int
        How many these are.
    increase : float
        Of the mean cross-entropy on the validation images, over the dense network's.
    own_increase : float
        The same on the model's own samples; nan where that was not measured.
    objective, bound : float
        Model value, and the best proven lower bound of all selectors on the same problem; −inf: none.
    relative : float
        Objective over the model's value with every weight pruned; nan where that was not run.
    damping_share : float
        Of the objective: λ/2‖w − w̄‖²; nan where every layer has its own λ.
    """

    model: str
    family: str
    method: str
    sparsity: float
    seed: int
    accuracy: float
    accuracy_dense: float
    images: int
    increase: float
    own_increase: float
    objective: float
    bound: float
    relative: float
    damping_share: float

    @property
    def gap(self) -> float:
        """(objective − bound)/objective; inf without a bound."""
        return relative_gap(self.objective, self.bound)

    @property
    def data_term(self) -> float:
        """The objective without its damping term."""
        return self.objective * (1 - self.damping_share)


def points_of(network: str, entries: Iterable[dict[str, Any]]) -> list[Point]:
    """The points of a network, in the order of the log.

    Raises
    ------
    BoundViolationError
        A bound above an objective of the same problem (when its gap is asked for).
    """
    mine = [entry for entry in entries if entry["network"] == network]
    bounds: dict[str, float] = {}
    everything: dict[str, float] = {}
    for entry in mine:
        if entry["method"] == NOTHING:
            everything[_model(entry)] = entry["objective"]
        elif entry["bound"] is not None:
            bounds[_problem(entry)] = max(bounds.get(_problem(entry), -math.inf), entry["bound"])
    return [
        Point(
            model_name(entry["model"]),
            family(entry["model"]),
            entry["method"],
            entry["sparsity"],
            entry["seed"],
            entry["accuracy"],
            entry["accuracy_dense"],
            entry["validation"],
            entry["loss"] - entry["loss_dense"],
            entry.get("own_loss", math.nan) - entry.get("own_loss_dense", math.nan),
            entry["objective"],
            bounds.get(_problem(entry), -math.inf),
            entry["objective"] / everything.get(_model(entry), math.nan),
            _damping_share(entry),
        )
        for entry in mine
        if entry["method"] != NOTHING
    ]


def _model(entry: dict[str, Any]) -> str:
    """Two entries with the same words have the same gradients (or layer inputs) and λ."""
    return json.dumps([entry["model"], entry["seed"]], sort_keys=True)


def _problem(entry: dict[str, Any]) -> str:
    """Two entries with the same words are answers to one problem; those of the sequential curvature never are."""
    own = entry["method"] if entry["model"]["curvature"] == "sequential" else ""
    return json.dumps([entry["model"], entry["seed"], entry["sparsity"], own], sort_keys=True)


def _damping_share(entry: dict[str, Any]) -> float:
    told = entry["damping"]
    dampings = set(told.values()) if isinstance(told, dict) else {told}
    return dampings.pop() / 2 * entry["moved"] / entry["objective"] if len(dampings) == 1 else math.nan


def models_of(points: Sequence[Point]) -> list[str]:
    """The models, each once, in the order of the points."""
    return list(dict.fromkeys(point.model for point in points))


def rank_correlation(points: Sequence[Point], value: Callable[[Point], float]) -> float:
    """Spearman's ρ of accuracy with −value: 1 where the lower value always is the better network, nan if undefined.

    Points without a finite value are left out; below three points, or without any variation, it is undefined.
    """
    return ranks.rank_correlation([-value(p) for p in points], [p.accuracy for p in points])


def agreement(points: Sequence[Point], value: Callable[[Point], float]) -> tuple[int, int]:
    """Of all pairs whose accuracies can be told apart: (those where the lower value is the better network, all)."""
    known = [point for point in points if math.isfinite(value(point))]
    right = total = 0
    for one, other in itertools.combinations(known, 2):
        if told_apart(one, other):
            total += 1
            right += (value(other) - value(one)) * (one.accuracy - other.accuracy) > 0
    return right, total


def told_apart(one: Point, other: Point) -> bool:
    """Whether the accuracies differ by more than two standard errors, as if each had images of its own (they share
    them, so fewer differences are called real than could be)."""
    variance = sum(p.accuracy * (1 - p.accuracy) / p.images for p in (one, other))
    return abs(one.accuracy - other.accuracy) > 2 * math.sqrt(variance)
