"""The conclusions: written by hand in ``conclusions.md``, their figures and the truth of their claims from the log."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.model_value.analysis import Point, rank_correlation
from cbs_opt.errors import InputError

WHOLE = "Fisher, whole network, m = 1,000, λ = {}"
REFERENCE = WHOLE.format("0.001")
MORE_SAMPLES = "Fisher, whole network, m = 3,000, λ = 0.001"
BY_LAYER = "Fisher by layer, m = 1,000, λ = 0.001"
SEQUENTIAL = "sequential layer Gram, m = 10,000, λ = 0.01"
GRAM_FEW = "layer Gram, m = 1,000, λ = 0.01"
SEQUENTIAL_RESNET = "sequential layer Gram, m = 1,000, λ = 0.001 · mean diagonal"

PER_CENT = "\N{NO-BREAK SPACE}%"


class Figures:
    """The points of a network by model, selector and sparsity (seed 0)."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = [point for point in points if point.seed == 0]
        self._by_key = {(p.model, p.method, p.sparsity): p for p in self.points}

    def of(self, model: str, method: str, sparsity: float) -> Point:
        """The point; KeyError where the log has none."""
        return self._by_key[model, method, sparsity]

    def within(self, model: str, sparsity: float) -> list[Point]:
        """All selectors of a model; KeyError where there are fewer than three."""
        found = [p for p in self.points if p.model == model and p.sparsity == sparsity]
        if len(found) < 3:
            raise KeyError(model)
        return found

    def best_of(self, family: str, sparsity: float) -> Point:
        """The most accurate network of a kind of curvature; KeyError where the log has none."""
        found = [p for p in self.points if p.family == family and p.sparsity == sparsity]
        if not found:
            raise KeyError(family)
        return max(found, key=lambda p: p.accuracy)


def conclusions(found: Mapping[str, Sequence[Point]]) -> list[str]:
    """The section of the page; a paragraph whose runs are not in the log is left out.

    Raises
    ------
    InputError
        The log contradicts a paragraph.
    """
    figures = {network: Figures(points) for network, points in found.items()}
    written: list[str] = []
    for name, text in _paragraphs().items():
        try:
            holds, values = CLAIMS[name](figures)
        except KeyError:
            continue
        told = f"{len(written) + 1}. " + text.format(**values)
        if not holds:
            raise InputError(f"conclusions.md: the log contradicts the paragraph {name}; write it anew: {told}")
        written.append(textwrap.fill(told, 118, subsequent_indent="   ", break_on_hyphens=False))
    return ["## Conclusions", "", *written, ""] if written else []


def _paragraphs() -> dict[str, str]:
    """The text of each paragraph, on one line, by its name."""
    parts = re.split(r"^\[(\w+)\]\n", Path(__file__).with_suffix(".md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


Claim = Callable[[Mapping[str, Figures]], tuple[bool, dict[str, str]]]
"""Whether the log bears the paragraph out, and the figures in it. KeyError where a run it needs is missing."""


def _within_one_model(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    mlp, sparsities = found["mlpnet"], (0.8, 0.9, 0.95, 0.98)
    pots = [mlp.within(REFERENCE, s) for s in sparsities]
    rhos = [rank_correlation(pot, lambda p: p.objective) for pot in pots]
    spread = [max(p.accuracy for p in pot) - min(p.accuracy for p in pot) for pot in pots]
    first, best = mlp.of(REFERENCE, "magnitude", 0.98), mlp.of(REFERENCE, "relaxation", 0.98)
    return min(rhos) > 0.5 and spread[0] < 0.005 and best.accuracy - first.accuracy > 0.1, {
        "selectors": str(len(pots[0])),
        "rhos": _list(f"{rho:.2f}" for rho in rhos),
        "sparsities": _list(f"{s:g}" for s in sparsities),
        "spread": f"{100 * spread[0]:.2f}",
        "lower": f"{100 * (1 - best.objective / first.objective):.1f}",
        "best_gap": _percent(best.gap),
        "first_gap": _percent(first.gap),
        "best": _accuracy(best),
        "first": _accuracy(first),
    }


def _exception(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    mlp = found["mlpnet"]
    cbs, magnitude = (mlp.of(REFERENCE, method, 0.98) for method in ("cbs", "magnitude"))
    worst = max(mlp.within(REFERENCE, 0.98), key=lambda p: p.objective)
    return worst is cbs and cbs.accuracy > magnitude.accuracy + 0.05, {
        "cbs": _accuracy(cbs),
        "cbs_gap": _percent(cbs.gap),
        "magnitude": _accuracy(magnitude),
        "magnitude_gap": _percent(magnitude.gap),
    }


def _across_models(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    mlp = found["mlpnet"]
    points = {
        "strong": mlp.of(WHOLE.format("0.01"), "relaxation", 0.95),
        "weak": mlp.of(WHOLE.format("0.0001"), "relaxation", 0.95),
        "layer": mlp.of(BY_LAYER, "relaxation", 0.98),
        "whole": mlp.of(REFERENCE, "relaxation", 0.98),
    }
    holds = all(
        points[one].gap < points[other].gap and points[one].accuracy < points[other].accuracy - 0.01
        for one, other in (("strong", "weak"), ("whole", "layer"))
    )
    pots = [[p for p in mlp.points if p.sparsity == s] for s in (0.8, 0.9, 0.95, 0.98)]
    gap_rhos = [rank_correlation(pot, lambda p: p.gap) for pot in pots]
    objective_rhos = [rank_correlation(pot, lambda p: p.relative) for pot in pots]
    holds = holds and max(gap_rhos) < 0.5 and max(objective_rhos) < 0.5
    values = {name: _accuracy(point) for name, point in points.items()}
    values |= {"gap_rhos": _signed(gap_rhos), "objective_rhos": _signed(objective_rhos)}
    return holds, values | {f"{name}_gap": _percent(point.gap) for name, point in points.items()}


def _samples(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    mlp, sparsities = found["mlpnet"], (0.9, 0.95, 0.98)
    few, many = ([mlp.of(model, "relaxation", s) for s in sparsities] for model in (REFERENCE, MORE_SAMPLES))
    magnitude = [mlp.of(REFERENCE, "magnitude", s) for s in sparsities]
    holds = few[0].objective < many[0].objective and few[0].gap < many[0].gap
    better = [b.accuracy > a.accuracy for a, b in zip(few, many, strict=True)]
    return holds and better == [True, True, False], {
        "few_objective": f"{few[0].objective:.5f}",
        "many_objective": f"{many[0].objective:.5f}",
        "few_gap": _percent(few[0].gap),
        "many_gap": _percent(many[0].gap),
        "changes": _list(f"{_accuracy(a)} → {_accuracy(b)}" for a, b in zip(few[:2], many[:2], strict=True)),
        "few": _accuracy(few[2]),
        "many": _accuracy(many[2]),
        "selector": _list(f"{100 * (b.accuracy - a.accuracy):.2f}" for a, b in zip(magnitude, few, strict=True)),
    }


def _why(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    points = [found["mlpnet"].of(REFERENCE, "relaxation", s) for s in (0.8, 0.9, 0.95, 0.98)]
    shares = [p.damping_share for p in points]
    if any(math.isnan(p.own_increase) for p in points):
        raise KeyError("own samples")
    at = points[1]
    return min(shares) > 0.95 and at.increase > at.own_increase > 100 * at.data_term, {
        "least": f"{100 * min(shares):.1f}",
        "most": f"{100 * max(shares):.1f}",
        "data": f"{at.data_term:.5f}",
        "own": f"{at.own_increase:.3f}",
        "increase": f"{at.increase:.3f}",
    }


def _sequential(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    mlp, sparsities = found["mlpnet"], (0.9, 0.95, 0.98)
    layers = [mlp.of(SEQUENTIAL, "greedy-obs", s) for s in sparsities]
    dense = [mlp.of(GRAM_FEW, "greedy-obs", s) for s in sparsities]
    fisher = [mlp.best_of("Fisher, whole network", s) for s in sparsities]
    holds = all(a.accuracy > b.accuracy and a.gap > b.gap for a, b in zip(layers, fisher, strict=True))
    return holds and all(a.accuracy > b.accuracy for a, b in zip(dense, fisher, strict=True)), {
        "layers": _list(map(_accuracy, layers)),
        "layer_gaps": _list(_percent(p.gap) for p in layers),
        "dense": _list(map(_accuracy, dense)),
        "fisher": _list(map(_accuracy, fisher)),
        "fisher_gaps": _list(_percent(p.gap) for p in fisher),
    }


def _resnet20(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    fisher = found["resnet20"].of(REFERENCE, "relaxation", 0.9)
    layers = found["resnet20"].of(SEQUENTIAL_RESNET, "greedy-obs", 0.9)
    return fisher.gap < 0.01 and layers.accuracy > fisher.accuracy + 0.2, {
        "fisher": _accuracy(fisher),
        "fisher_gap": _percent(fisher.gap),
        "layers": _accuracy(layers),
        "dense": f"{100 * fisher.accuracy_dense:.2f}{PER_CENT}",
    }


def _advice(found: Mapping[str, Figures]) -> tuple[bool, dict[str, str]]:
    found["mlpnet"].of(REFERENCE, "relaxation", 0.9)
    return True, {}


CLAIMS: Mapping[str, Claim] = {
    "within_one_model": _within_one_model,
    "exception": _exception,
    "across_models": _across_models,
    "samples": _samples,
    "why": _why,
    "sequential": _sequential,
    "resnet20": _resnet20,
    "advice": _advice,
}


def _accuracy(point: Point) -> str:
    return f"{100 * point.accuracy:.2f}{PER_CENT}"


def _percent(share: float) -> str:
    return (f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}") + PER_CENT


def _signed(numbers: Iterable[float]) -> str:
    return _list(f"{number:+.2f}".replace("-", "−") for number in numbers)


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
