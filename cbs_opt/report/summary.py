"""One line for each method and request: how many blocks, how good, how fast."""

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
"""Quantiles of the solve times that are shown; the last is the longest."""


@dataclass(frozen=True)
class Summary:
    """One method at one request, over the blocks of the store.

    Parameters
    ----------
    blocks : int
        Blocks it was tried on: ``done`` and ``failed`` together.
    untried : int
        Blocks of the store it has no result on (yet).
    proven, own_proofs : int
        Answers that meet the best bound of any method, and those that meet the method's own.
    unknown_gap : int
        Answers without any bound; they are in none of the gaps here.
    mean_gap, worst_gap : float
        Over the answers with a gap; NaN where there is none.
    worst_block : str
    times : tuple of float
        Quantiles of the seconds of all that is done, see ``TIMES``; NaN without any.
    seconds : float
        Their sum.
    wins, sole_wins : int
        Answers that no other method's is below, and those that no other even reaches.
    reasons : mapping of str to int
        Why it failed, how often.
    broken : int
        Answers that lie below a 'proven' bound.
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
        """Of the blocks it was tried on, the failed ones included; NaN of none."""
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
    """In the order of requests and methods; only where there are rows."""
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
