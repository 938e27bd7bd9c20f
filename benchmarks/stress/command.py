"""`python -m benchmarks.stress`: everything that answers or proves, on fresh seeds, for as long as you like.

A case is drawn from its seed. Four of five have at most ten weights under a pattern of one of sixteen kinds
(``benchmarks.exact.patterns``), and their optimum is known in rational arithmetic; every fifth has 12 to 32, where the
best mask that any method found stands for it. Curvatures are ill-conditioned, tied, of near duplicates, of integers or
of very different units, at scales up to 1e±100, some with a first-order term, weights forced and forbidden.

Each goes to bnb, bnb-selection, enumeration, lower_bound, all heuristics, by turns to one of the methods that run a
solver, and every third to a certificate that is verified. Wrong is, without any tolerance, a bound above the optimum;
a mask outside the pattern; an objective that is not that of the weights to within its stated round-off; 'optimal' of
anything that is not within the gap; a certificate that is refused; an error that is no refusal.

The exit status is 1 where anything was wrong. Ctrl-C ends the run with its summary.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import count

import numpy as np

from benchmarks.exact.patterns.draw import PATTERNS, Case, case
from benchmarks.stress.judge import judged
from benchmarks.stress.larger import LARGER
from benchmarks.stress.tally import Tally

EVERY = 5.0
"""Seconds between two lines of progress."""

LARGER_OF = 5
"""Of so many cases one is larger than can be enumerated; prime to the numbers of kinds of patterns."""


def main(arguments: list[str] | None = None) -> int:
    """Draw, ask and judge until the time is up."""
    asked = _parser().parse_args(arguments)
    first = time.time_ns() // 1_000_000 % 10**9 if asked.seed is None else asked.seed
    tally, started = Tally(), time.monotonic()
    told = started
    _say(f"seeds from {first}")
    try:
        for seed in count(first):
            now = time.monotonic()
            if tally.cases == asked.cases or now - started >= 60.0 * asked.minutes:
                break
            if now - told >= EVERY:
                told = now
                _say(_progress(tally, now - started, seed))
            with np.errstate(all="ignore"):
                drawn = of_seed(seed)
                wrong = tally.add(drawn, judged(drawn))
            for words in wrong:
                _say(words)
    except KeyboardInterrupt:
        _say("\ninterrupted; so far:")
    _say("\n".join(["", *tally.summary()]))
    return 1 if tally.violations else 0


def of_seed(seed: int) -> Case:
    """The case of a seed."""
    return case(seed, LARGER if seed % LARGER_OF == LARGER_OF - 1 else PATTERNS)


def _progress(tally: Tally, seconds: float, seed: int) -> str:
    minutes, rest = divmod(int(seconds), 60)
    answers = f"{tally.cases:,} cases, {tally.answers:,} answers"
    return f"{minutes:3d} min {rest:02d} s: {answers}, {len(tally.violations)} violations, at seed {seed}"


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to go on (60)")
    parser.add_argument("--seed", type=int, help="the first seed; left out, one that was hardly ever run")
    parser.add_argument("--cases", type=int, default=-1, help="stop after so many")
    return parser


if __name__ == "__main__":
    sys.exit(main())
