"""The page of what ``patterns`` recorded: the methods, the kinds of patterns and of curvature, and what was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.patterns.judge import ALWAYS, IN_TURN, TIME_LIMIT
from benchmarks.exact.summary import table
from benchmarks.recording import Row

INTRODUCTION = """\
# Every pattern with every method, against enumeration

Written by `python -m benchmarks.exact.patterns`; every case is a row of [patterns.jsonl](patterns.jsonl), and its seed
draws it again. At most ten weights, so that every mask of the pattern is tried; what is wrong is a bound above
the optimum by more than the two evaluations may be wrong by (and 1e-12 of it), a mask outside the pattern or of
less than the optimum, 'optimal' of anything that is more than 2e-6 above it, or an error that is no refusal."""

GOOD = ("proven", "tight", "optimal")
REST = ("unproven", "below", "above")
SHOWN = 20
"""So many of what is wrong."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``patterns.md``; return where."""
    return recording.write_page(folder / "patterns.md", INTRODUCTION, {"patterns": _all}, rows)


def _all(rows: Sequence[Row]) -> list[str]:
    return [*_cases(rows), "", *_methods(rows), "", *_kinds(rows, "pattern"), "", *_kinds(rows, "curvature")]


def _cases(rows: Sequence[Row]) -> list[str]:
    wrong = [
        f"seed {row['seed']} ({row['pattern']}, {row['curvature']}): {what}" for row in rows for what in row["wrong"]
    ]
    forms = Counter(row["form"] for row in rows)
    missed = [row for row in rows if row["answers"].get("bnb") != row["answers"].get("enumeration") == "proven"]
    linear = sum(row["linear_term"] for row in missed)
    lines = [
        "## Cases",
        "",
        f"{len(rows)} cases, seeds {rows[0]['seed']} to {rows[-1]['seed']}; violations: {len(wrong)}.",
        "",
        f"- with forced or forbidden weights: {sum(row['forced'] > 0 for row in rows)}",
        f"- with a first-order term: {sum(row['linear_term'] for row in rows)}",
        f"- H scaled by more than 1e10 or less than 1e-10: {sum(abs(row['exponent']) > 10 for row in rows)}, up to "
        f"1e±{max(abs(row['exponent']) for row in rows):.0f}",
        "- curvature: " + ", ".join(f"{form} {count}" for form, count in forms.most_common()),
        "",
        f"bnb leaves {len(missed)} unproven that enumeration proves, {linear} of them with a first-order term: where H",
        "is ill-conditioned the minimizer of f lies far away, and the digits that are lost on the way to it lower the",
        "bound.",
    ]
    if wrong:
        lines += ["", "What is wrong:", "", *(f"- {words}" for words in wrong[:SHOWN])]
        lines += [f"- and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    return lines


def _methods(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row["answers"])
    order = [*(name for name in (*ALWAYS, *IN_TURN, "lower_bound") if name in names)]
    order += [name for name in names if name not in order]
    body = []
    for name in order:
        words = Counter(row["answers"][name] for row in rows if name in row["answers"])
        body.append(
            [
                name,
                sum(words.values()),
                sum(words[word] for word in GOOD),
                sum(words[word] for word in REST),
                words["refused"],
                words["wrong"],
            ]
        )
    return [
        "## Methods",
        "",
        "*Best*: an exact method has proven its mask, a bound is within 1e-6 of the optimum, the mask of a heuristic",
        f"is an optimum. Methods that run a solver take turns, {TIME_LIMIT:g} wall seconds at the most. *Other*: not",
        "proven (stopped, or round-off hides the last digits: condition numbers go up to 1e12), a weaker bound, a",
        "worse mask. *Refused*: an error of one sentence, after the method had taken the problem. A case that a method",
        "does not take, because of its pattern or its curvature, is not counted.",
        "",
        *table(["method", "cases", "best", "other", "refused", "wrong"], body),
    ]


def _kinds(rows: Sequence[Row], key: str) -> list[str]:
    """A table by kind of ``key``: of the exact methods how many cases they proved of those they took."""
    names = [name for name in ("bnb", *IN_TURN, "lower_bound") if any(name in row["answers"] for row in rows)]
    body = []
    for kind in dict.fromkeys(row[key] for row in rows):
        mine = [row for row in rows if row[key] == kind]
        shares = []
        for name in names:
            words = [row["answers"][name] for row in mine if name in row["answers"]]
            shares.append(f"{sum(word in GOOD for word in words)}/{len(words)}")
        body.append([kind, len(mine), *shares, sum(len(row["wrong"]) for row in mine)])
    return [
        f"## By {key}",
        "",
        "Proven (of lower_bound: tight) of those taken.",
        "",
        *table([key, "cases", *names, "violations"], body),
    ]
