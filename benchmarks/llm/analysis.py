"""What the log says: one point per pruned network, with the best bounds known, and how the figures rank them.

All rows are judged on the dense network's inputs, so a layer's problem depends on the seed alone, and a bound proven in
one row holds for every row of that seed with as many zeros in the layer, or more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.llm.selectors import SELECTORS
from benchmarks.ranks import rank_correlation, same_order
from benchmarks.recording import Row
from cbs_opt.kernel.result import relative_gap


@dataclass(frozen=True)
class Point:
    """One pruned network.

    Parameters
    ----------
    selector, pattern, seed : str, str, int
    perplexity : float
    error : float
        Mean over the layers of the relative layer error.
    gap : float
        Mean over the layers of (error − bound)/error; nan where not every layer has a bound.
    seconds : float
        Of pruning, evaluation excluded.
    memory : float
        Most bytes held while pruning, beside those of the loaded network.
    """

    selector: str
    pattern: str
    seed: int
    perplexity: float
    error: float
    gap: float
    seconds: float
    memory: float

    @property
    def refined(self) -> bool:
        """Whether its kept weights were tuned on whole blocks."""
        return SELECTORS[self.selector].refined


Figure = Callable[[Point], float]


def points_of(rows: Sequence[Row]) -> list[Point]:
    """The pruned networks of the log, by pattern and selector in the order of the tables.

    Raises
    ------
    BoundViolationError
        A bound above the error of a row it holds for.
    """
    mine = [row for row in rows if row["part"] == "row"]
    bounds = _Bounds(mine)
    found = [
        Point(
            selector=row["selector"],
            pattern=row["pattern"],
            seed=row["seed"],
            perplexity=row["perplexity"],
            error=row["error"],
            gap=fmean(_gap(layer, bounds.of(row["seed"], layer)) for layer in row["layers"]),
            seconds=row["seconds_in_all"],
            memory=row["memory"]["peak"] - row["memory"]["held"],
        )
        for row in mine
    ]
    return sorted(found, key=lambda p: (_place(p.pattern), list(SELECTORS).index(p.selector), p.seed))


class _Bounds:
    """The bounds of all rows, by seed and layer, with the zeros each is for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._found: dict[tuple[int, str], list[tuple[int, float]]] = {}
        for row in rows:
            for layer in row["layers"]:
                if "bound" in layer:
                    known = self._found.setdefault((row["seed"], layer["name"]), [])
                    known.append((layer["pruned"], layer["bound"]))

    def of(self, seed: int, layer: Row) -> float:
        """The best that holds for this layer; −inf: none of nearly as many zeros is known.

        One for fewer zeros holds, too; for many fewer it says nothing that could be called the layer's gap.
        """
        known = self._found.get((seed, layer["name"]), [])
        close = 0.99 * layer["pruned"]
        return max((bound for zeros, bound in known if close <= zeros <= layer["pruned"]), default=-math.inf)


def _gap(layer: Row, bound: float) -> float:
    return math.nan if bound == -math.inf else relative_gap(layer["error"], bound)


def _place(pattern: str) -> tuple[bool, str]:
    """Shares first, by size; then N:M."""
    return ":" in pattern, pattern


def patterns_of(points: Sequence[Point]) -> list[str]:
    """The patterns, each once, in the order of the points."""
    return list(dict.fromkeys(point.pattern for point in points))


@dataclass(frozen=True)
class Agreement:
    """How a figure ranks networks against their perplexities.

    Parameters
    ----------
    networks : int
        That have the figure.
    rho : float
        Spearman's rank correlation of the figure with perplexity, the mean over the seeds: 1 where the lower figure
        always is the better model; nan where no seed has three networks.
    right, pairs : int
        Of all twos of networks of one seed, those where the lower figure is the lower perplexity. Figures of several
        seeds are about different calibration windows and do not compare.
    """

    networks: int
    rho: float
    right: int
    pairs: int


def agreement(points: Sequence[Point], figure: Figure) -> Agreement:
    """Of the points that have the figure, seed by seed."""
    known = [point for point in points if math.isfinite(figure(point))]
    rhos, right, pairs = [], 0, 0
    for seed in sorted({point.seed for point in known}):
        mine = [point for point in known if point.seed == seed]
        columns = [figure(point) for point in mine], [point.perplexity for point in mine]
        rhos.append(rank_correlation(*columns))
        ordered, twos = same_order(*columns)
        right, pairs = right + ordered, pairs + twos
    told = [rho for rho in rhos if not math.isnan(rho)]
    return Agreement(len(known), fmean(told) if told else math.nan, right, pairs)


def exceptions(points: Sequence[Point], figure: Figure) -> Iterator[tuple[str, str]]:
    """Twos of selectors, (the lower figure, the lower perplexity), in the means over the seeds that both have."""
    for one, other in itertools.combinations(dict.fromkeys(point.selector for point in points), 2):
        sides = {name: {p.seed: p for p in points if p.selector == name} for name in (one, other)}
        seeds = sides[one].keys() & sides[other].keys()
        if not seeds:
            continue
        lower = figure_mean(sides[one], seeds, figure) - figure_mean(sides[other], seeds, figure)
        better = figure_mean(sides[one], seeds, _perplexity) - figure_mean(sides[other], seeds, _perplexity)
        if lower * better < 0:
            yield (one, other) if lower < 0 else (other, one)


def figure_mean(points: dict[int, Point], seeds: set[int], figure: Figure) -> float:
    """The mean over the seeds."""
    return fmean(figure(points[seed]) for seed in sorted(seeds))


def _perplexity(point: Point) -> float:
    return point.perplexity
