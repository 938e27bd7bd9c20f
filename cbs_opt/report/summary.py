"""One summary for each method and request: how many blocks, how good the answers are, how long they took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.sums import total
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.report.measures.quantiles import quantiles
from cbs_opt.report.measures.wins import wins
from cbs_opt.report.records import Records

TIMES = (0.5, 0.9, 0.99, 1.0)
"""The quantiles of the solve times that are shown; the last one is the longest time."""


@dataclass(frozen=True)
class Summary:
    """One method with one request, over the blocks of the store.

    Parameters
    ----------
    method, asked : str
        The method and the request.
    blocks, done, failed : int
        The blocks that it was tried on, and how many of them have an answer and how many failed.
    untried : int
        The blocks of the store that it has no result on (yet).
    proven, own_proofs : int
        Answers that meet the best bound of any method, and answers that meet the method's own bound.
    unknown_gap : int
        Answers without any bound; they do not count in the gaps here.
    mean_gap, worst_gap : float
        Mean and largest gap over the answers that have one; NaN if none has.
    worst_block : str
        The block with the largest gap.
    times : tuple of float
        Quantiles of the seconds of all answers, see ``TIMES``; NaN without an answer.
    seconds : float
        The sum of these times.
    wins, sole_wins : int
        Answers that no other method's answer is below, and those that no other method's answer reaches.
    reasons : mapping of str to int
        Why it failed, and how often.
    broken : int
        Answers that lie below a bound that is called proven.
    """

    method: str
    asked: str
    blocks: int
    done: int
    failed: int
    untried: int
    proven: int
    own_proofs: int
    unknown_gap: int
    mean_gap: float
    worst_gap: float
    worst_block: str
    times: tuple[float, ...]
    seconds: float
    wins: int
    sole_wins: int
    reasons: Mapping[str, int]
    broken: int

    @property
    def proven_share(self) -> float:
        """The share of proven answers among all blocks that it was tried on, failed ones included; NaN without any."""
        return self.proven / self.blocks if self.blocks else math.nan

    def why(self) -> str:
        """Why it failed, and how often; empty if it never did."""
        return ", ".join(f"{reason} ({count:,})" for reason, count in self.reasons.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is unknown is None."""
        values = {k: finite_or_none(v) if isinstance(v, float) else v for k, v in self.__dict__.items()}
        del values["times"]
        names = ("seconds_median", "seconds_90", "seconds_99", "seconds_longest")
        values |= {name: finite_or_none(time) for name, time in zip(names, self.times, strict=True)}
        return values | {"proven_share": finite_or_none(self.proven_share), "reasons": dict(self.reasons)}


def summaries(records: Records) -> tuple[Summary, ...]:
    """The summaries of all methods and requests that have results, in the order of requests and methods."""
    best, alone = wins(records.problem, records.objective, records.round_off, records.problems)
    found = []
    for request, asked in enumerate(records.asked):
        for method, name in enumerate(records.methods):
            rows = records.of(method, request)
            if not len(rows):
                continue
            done = rows[records.done[rows]]
            gap = records.gap[done]
            known = np.isfinite(gap)
            worst = int(done[known][np.argmax(gap[known])]) if known.any() else None
            seconds = records.seconds[done]
            seconds = seconds[~np.isnan(seconds)]
            failed = len(rows) - len(done)
            found.append(
                Summary(
                    method=name,
                    asked=asked,
                    blocks=len(rows),
                    done=len(done),
                    failed=failed,
                    untried=len(records.blocks) - len(rows),
                    proven=int(records.proven[done].sum()),
                    own_proofs=int(records.own_proof[done].sum()),
                    unknown_gap=int(np.isinf(gap).sum()),
                    mean_gap=float(gap[known].mean()) if known.any() else math.nan,
                    worst_gap=float(records.gap[worst]) if worst is not None else math.nan,
                    worst_block=records.blocks.name[records.block[worst]] if worst is not None else "",
                    times=tuple(quantiles(seconds, TIMES)),
                    seconds=total(seconds, beyond=math.inf),
                    wins=int(best[done].sum()),
                    sole_wins=int(alone[done].sum()),
                    reasons=Counter(records.reason[row] for row in rows if not records.done[row]),
                    broken=int(records.broken[done].sum()),
                )
            )
    return tuple(found)
