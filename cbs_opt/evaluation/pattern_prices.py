"""The price of a pattern: how much more the least loss under it is, proven, than under the cheapest pattern.

Under the pattern P the least loss f*(P) lies between a proven bound and the loss of the best mask found,
L(P) ≤ f*(P) ≤ U(P). With B the pattern whose best mask loses least, f*(P)/f*(B) − 1 is the price of P, and

    L(P)/U(B) − 1  ≤  price of P  ≤  U(P)/L(B) − 1.                                                     (price)

The left side is proven: no mask of P comes closer than that to the best mask of B. The right side is the most that P
can cost.

Patterns share masks: a mask that was found under 2:4 lies in 4:8, too. They also share bounds: a bound under one
pattern holds under each pattern that is proven to lie within it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cbs_opt.errors import InputError, UnsupportedError
from cbs_opt.evaluation.catalogue import method as find_method
from cbs_opt.evaluation.comparator import Comparison, compare
from cbs_opt.kernel.arrays.types import EPS
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.display import Card, Displayed, frame_of
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.inclusion import lies_within
from cbs_opt.kernel.problem import PruningProblem, require_problem
from cbs_opt.kernel.result import finite_or_none, relative_gap
from cbs_opt.kernel.sums import total_bound
from cbs_opt.kernel.words import gap as gap_in_words
from cbs_opt.kernel.words import plain_number, proven_percent


@dataclass(frozen=True)
class PatternPrice:
    """The least loss under one pattern, as far as it is known, and what the pattern costs.

    Parameters
    ----------
    pattern : str
        The pattern, as it was asked for.
    n, pruned : int
        How many weights there are, and how many of them the best mask prunes.
    bound, objective : float
        L, the proven lower bound (−inf without a bound), and U, the loss of the best mask after the update.
    round_off : float
        What float64 may have got wrong in ``objective``.
    gap : float
        (objective − bound)/|objective|; inf without a bound.
    method, found_under, bound_under : str
        The method that found the best mask, the pattern under which it did, and the pattern under which the bound was
        proven.
    within : tuple of str
        The other patterns of the list that this one is proven to lie within.
    at_least, at_most : float
        The two sides of (price), rounded outwards: 0.1 is 10 % more than under the cheapest pattern. They are −inf and
        inf if nothing is proven, for example because the loss under the cheapest is not positive, and both 0 for the
        cheapest itself.
    """

    pattern: str
    n: int
    pruned: int
    bound: float
    objective: float
    round_off: float
    gap: float
    method: str
    found_under: str
    bound_under: str
    within: tuple[str, ...]
    at_least: float = -math.inf
    at_most: float = math.inf

    @property
    def attained(self) -> float:
        """U, rounded upwards, so that the least loss is certainly not above it."""
        return math.nextafter(self.objective + self.round_off, math.inf)

    def against(self, cheapest: PatternPrice) -> PatternPrice:
        """This price, with ``at_least`` and ``at_most`` against ``cheapest``."""
        if self.pattern == cheapest.pattern:
            return replace(self, at_least=0.0, at_most=0.0)
        least = 0.0 if cheapest.pattern in self.within else -math.inf
        most = math.inf
        if self.bound >= 0 and cheapest.objective > cheapest.round_off:
            least = max(least, _excess(self.bound, cheapest.attained, -math.inf))
        if cheapest.bound > 0:
            most = _excess(self.attained, cheapest.bound, math.inf)
        return replace(self, at_least=least, at_most=most)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        values = dict(self.__dict__, within=list(self.within))
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in values.items()}


@dataclass(frozen=True, eq=False, repr=False)
class PatternPrices(Displayed):
    """Patterns of one problem, or of several together, and what each costs against the cheapest.

    Parameters
    ----------
    problem : str
        The problem's name.
    cheapest : str
        The pattern whose best mask loses least; all others are measured against it.
    prices : tuple of PatternPrice
        The patterns in the order in which they were asked for.
    comparisons : mapping of pattern to Comparison
        The methods under each pattern.
    """

    problem: str
    cheapest: str
    prices: tuple[PatternPrice, ...]
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)

    @classmethod
    def of(
        cls, problem: str, known: Sequence[PatternPrice], comparisons: Mapping[str, Comparison] | None = None
    ) -> PatternPrices:
        """The prices, from what is known of each pattern.

        If several patterns have equally good masks, the one within the fewest others counts as the cheapest.

        Parameters
        ----------
        problem : str
            The problem's name.
        known : sequence of PatternPrice
            Bound and best mask under each pattern.
        comparisons : mapping of str to Comparison, optional
            The comparisons that these come from, by pattern.
        """
        cheapest = min(known, key=lambda price: (price.objective, len(price.within)))
        return cls(problem, cheapest.pattern, tuple(price.against(cheapest) for price in known), comparisons or {})

    def __getitem__(self, pattern: str) -> PatternPrice:
        for price in self.prices:
            if price.pattern == pattern:
                return price
        raise KeyError(pattern)

    def to_frame(self) -> Any:
        """The prices as a ``pandas.DataFrame``, a row for each pattern; unknown numbers are NaN.

        Raises
        ------
        UnavailableMethodError
            pandas is not installed.
        """
        return frame_of(price.to_dict() for price in self.prices)

    def _card(self) -> Card:
        name = f"{self.problem}: " if self.problem else ""
        return Card(
            f"{name}{self.cheapest} loses least of {len(self.prices)} patterns",
            headings=("pattern", "pruned", "loss", "bound", "gap", "costs at least", "costs at most", "method"),
            rows=[
                (
                    price.pattern,
                    f"{price.pruned:,} of {price.n:,}",
                    plain_number(price.objective),
                    plain_number(price.bound),
                    gap_in_words(price.gap),
                    proven_percent(price.at_least, up=False),
                    proven_percent(price.at_most, up=True),
                    price.method,
                )
                for price in self.prices
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "problem": self.problem,
            "cheapest": self.cheapest,
            "prices": [price.to_dict() for price in self.prices],
            "comparisons": {pattern: comparison.to_dict() for pattern, comparison in self.comparisons.items()},
        }


def compare_patterns(
    problem: PruningProblem,
    patterns: Sequence[str] | Mapping[str, Pattern],
    methods: Sequence[str] | str | None = None,
    *,
    seed: int = 0,
    on_row: Callable[[str, str], None] | None = None,
    **options: Any,
) -> PatternPrices:
    """Bound the least loss under each of several patterns, and prove what each costs against the cheapest.

    Parameters
    ----------
    problem : PruningProblem
        The problem; its own pattern, if it has one, is not used.
    patterns : sequence of str, or mapping of name to Pattern
        Words as ``--pattern`` takes them (``["sparsity 0.5", "2:4"]``), or patterns of any kind by names of your own.
    methods : sequence of str, or str, optional
        The methods to run under each pattern, as ``compare`` takes them; each one named here has to take every pattern.
    seed : int
        Seed of the methods that draw at random.
    on_row : callable, optional
        Called with the pattern and the method before each run.
    **options
        As for ``compare``; ``time_limit`` holds for each method under each pattern.

    Raises
    ------
    InputError, MethodError
        Before anything runs: no pattern is given, the problem cannot have one, or a method cannot take one.
    BoundViolationError
        A bound lies above a feasible objective, perhaps of another pattern: a bug in the method that proved it.
    """
    require_problem(problem)
    methods = [methods] if isinstance(methods, str) else methods
    problems = _asked(problem, patterns)
    for name in methods or ():
        for asked in problems.values():
            find_method(name).check(asked)
    comparisons: dict[str, Comparison] = {}
    for pattern, asked in problems.items():

        def tell(name: str, pattern: str = pattern) -> None:
            if on_row:
                on_row(pattern, name)

        comparisons[pattern] = compare(asked, methods, seed=seed, on_row=tell, **options)
    known = [_known(pattern, problems, comparisons) for pattern in problems]
    return PatternPrices.of(problem.name, known, comparisons)


def total_prices(problem: str, parts: Sequence[PatternPrices], units: Sequence[float]) -> PatternPrices:
    """The prices of patterns for several problems together: of sums of losses, each divided by its problem's unit > 0.

    All problems have to be priced under the same patterns.
    """
    known = []
    for pattern in (price.pattern for price in parts[0].prices):
        each = [part[pattern] for part in parts]
        objective = math.fsum(price.objective / unit for price, unit in zip(each, units, strict=True))
        # Beside the round-off of the parts, each quotient is rounded once, and so is the sum.
        size = math.fsum(abs(price.objective) / unit for price, unit in zip(each, units, strict=True))
        off = math.fsum(price.round_off / unit for price, unit in zip(each, units, strict=True)) + 4 * EPS * size
        bound = total_bound((price.bound for price in each), units)
        found = {price.method for price in each}
        known.append(
            PatternPrice(
                pattern=pattern,
                n=sum(price.n for price in each),
                pruned=sum(price.pruned for price in each),
                bound=bound,
                objective=objective,
                round_off=off,
                gap=relative_gap(objective, bound, off),
                method=found.pop() if len(found) == 1 else "several",
                found_under=pattern,
                bound_under=pattern,
                within=tuple(name for name in each[0].within if all(name in price.within for price in each)),
            )
        )
    return PatternPrices.of(problem, known)


def _asked(problem: PruningProblem, patterns: Sequence[str] | Mapping[str, Pattern]) -> dict[str, PruningProblem]:
    """The problem within each pattern, by the pattern's name."""
    if isinstance(patterns, str):
        raise InputError(f"patterns: is {patterns!r:.60}; give a list of two or more, as ['sparsity 0.5', '2:4']")
    if isinstance(patterns, Mapping):
        found = {name: problem.within(pattern) for name, pattern in patterns.items()}
    else:
        found = {words: Asked("pattern", words).of(problem) for words in patterns}
    if not found:
        raise InputError("patterns: none is given; give two or more, as 'sparsity 0.5' and '2:4'")
    return found


def _known(pattern: str, problems: Mapping[str, PruningProblem], comparisons: Mapping[str, Comparison]) -> PatternPrice:
    """The best mask within ``pattern`` and the best bound on it, whichever pattern they were found and proven under."""
    Z = problems[pattern].Z
    within = tuple(name for name, other in problems.items() if name != pattern and lies_within(Z, other.Z))
    found = [
        (solution.objective, name != pattern, name, solution)
        for name, comparison in comparisons.items()
        for solution in comparison.solutions.values()
        if Z.contains(solution.mask)
    ]
    if not found:
        reasons = "; ".join(dict.fromkeys(comparisons[pattern].skipped.values()))
        raise UnsupportedError(f"pattern {pattern}: no method that was tried found a mask ({reasons})")
    _, _, found_under, best = min(found, key=lambda candidate: candidate[:2])
    bound_under = max((pattern, *within), key=lambda name: comparisons[name].bound)
    bound = comparisons[bound_under].bound
    return PatternPrice(
        pattern=pattern,
        n=best.n,
        pruned=best.pruned,
        bound=bound,
        objective=best.objective,
        round_off=best.round_off,
        gap=relative_gap(best.objective, bound, best.round_off),
        method=best.method,
        found_under=found_under,
        bound_under=bound_under,
        within=within,
    )


def _excess(value: float, base: float, towards: float) -> float:
    """value/base − 1, both steps rounded towards −inf or inf."""
    return math.nextafter(math.nextafter(value / base, towards) - 1.0, towards)
