"""`cbs-opt compare --patterns`: what each pattern costs, as a table and in one proven sentence for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbs_opt.cli.blocks_in_turn import FOOTNOTE, SUM_UNIT, in_turn
from cbs_opt.cli.output import number, percent, say, table
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.kernel.words import proven_percent

if TYPE_CHECKING:
    from cbs_opt.evaluation.pattern_prices import PatternPrice, PatternPrices

COLUMNS = [
    ("pattern", "left"),
    ("pruned", "right"),
    ("least loss, from", "right"),
    ("to", "right"),
    ("gap", "right"),
    ("best mask by", "left"),
    ("costs at least", "right"),
    ("at most", "right"),
]


def compare_patterns(
    blocks: list[Path], patterns: list[str], methods: list[str] | None, options: Mapping[str, Any], json: str | None
) -> None:
    """Price the patterns on every block and on all blocks together; show the prices, or write them as JSON."""
    from cbs_opt.evaluation.pattern_prices import compare_patterns as run
    from cbs_opt.evaluation.pattern_prices import total_prices
    from cbs_opt.kernel.asked import Asked
    from cbs_opt.kernel.block_file import about, block_files
    from cbs_opt.kernel.problem import PruningProblem

    asked = [Asked("pattern", words) for words in patterns]

    def load(file: Path) -> PruningProblem:
        problem = PruningProblem.load(file)
        with about(file):
            for one in asked:
                one.of(problem)
        return problem

    def price(problem: PruningProblem, tell: Callable[[str], None]) -> PatternPrices:
        return run(problem, patterns, methods, on_row=lambda pattern, method: tell(f"{pattern}, {method}"), **options)

    files = block_files(blocks)
    check_outputs(json, inputs=block_inputs(blocks))
    priced = in_turn(files, load, price)
    done, units = priced.done, priced.units
    total = total_prices(f"{len(done)} blocks together", done, units) if len(done) > 1 else None

    def show() -> None:
        for prices in done:
            _show(prices, prices.problem)
        if total is not None:
            _show(total, f"{total.problem}, {SUM_UNIT}")
        if priced.failed:
            say(f"{len(priced.failed)} of {len(files)} blocks failed.")
        if done:
            say(FOOTNOTE)

    data = {
        "blocks": [{**prices.to_dict(), "unit": unit} for prices, unit in zip(done, units, strict=True)],
        "sum": None if total is None else total.to_dict(),
        "sum_unit": None if total is None else SUM_UNIT,
    }
    priced.emit(json, data, show)


def _show(prices: PatternPrices, about: str) -> None:
    title = f"{about}: each pattern against {prices.cheapest}, whose best mask loses least"
    say(table(title, COLUMNS, [_cells(price) for price in prices.prices]))
    for price in prices.prices:
        if price.at_least > 0:
            closest = proven_percent(price.at_least, up=False)
            say(f"Proven: no {price.pattern} mask comes closer than {closest} to the best of {prices.cheapest}.")
    # A method that ran under some patterns only could make the others look dear, so it is named; one that ran under
    # none has its reason in `cbs-opt methods`.
    left_out: dict[str, list[str]] = {}
    for pattern, comparison in prices.comparisons.items():
        for name, reason in comparison.skipped.items():
            left_out.setdefault(reason if reason.startswith("method") else f"{name}: {reason}", []).append(pattern)
    for reason, patterns in left_out.items():
        if len(patterns) < len(prices.prices):
            say(f"  left out under {', '.join(patterns)}: {reason}")


def _cells(price: PatternPrice) -> list[str]:
    elsewhere = "" if price.found_under == price.pattern else f", under {price.found_under}"
    return [
        price.pattern,
        percent(price.pruned / price.n),
        number(price.bound),
        number(price.objective),
        percent(price.gap),
        price.method + elsewhere,
        proven_percent(price.at_least, up=False),
        proven_percent(price.at_most, up=True),
    ]
