"""The result of a study: a row for each block, method and sparsity, and the sums over the blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cbs_opt.evaluation.comparator import Row
from cbs_opt.kernel.display import Card, Displayed, frame_of
from cbs_opt.kernel.result import GAP_TOLERANCE, finite_or_none
from cbs_opt.kernel.sums import total_bound
from cbs_opt.kernel.words import duration
from cbs_opt.kernel.words import gap as gap_in_words

EXIT_INTERRUPTED = 130
EXIT_FAILED_BLOCKS = 1

GAP_IS_ABOUT_THE_MODEL = (
    "The gap is about the quadratic model of the loss, not about accuracy: it says how much lower the model's "
    "objective could be with the best possible mask."
)
SUMS_ARE_VALID = (
    "Objectives and bounds are sums over the blocks, which is exact for the block-diagonal model: no curvature "
    "between blocks."
)
SUMS_ARE_RELATIVE = (
    "Objectives and bounds over all blocks count each block relative to the loss of removing it whole; layer by layer "
    "they are in the layer's own units."
)


@dataclass(frozen=True)
class BlockRow:
    """One method on one block at one sparsity, as the comparator judged it.

    Parameters
    ----------
    sparsity : float
        The sparsity that was asked for.
    group : str
        The layer that the block belongs to, or the file that it is from.
    damping : float
        λ of the block's curvature.
    row : Row
        The comparator's row.
    kept : tuple of int
        The indices of the weights that the method kept.
    unit : float
        What the block's objectives are divided by before they are added to those of other groups: 1, or, if the groups
        have different units, the loss of removing the whole block.
    """

    sparsity: float
    group: str
    damping: float
    row: Row
    kept: tuple[int, ...]
    unit: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and CSV; what is unknown is None."""
        values = self.row.to_dict()
        block = values.pop("problem")
        place = {"sparsity": self.sparsity, "group": self.group, "block": block}
        return {**place, "damping": self.damping, "unit": self.unit, **values}


@dataclass(frozen=True)
class Failure:
    """A block without an answer, and why.

    Parameters
    ----------
    sparsity : float or None
        The sparsity that was asked for; None if the block could not even be read or made.
    block : str
        The block's name.
    reason : str
        What went wrong, in a sentence.
    method : str or None
        The method that failed; None if the failure is not one of a method.
    """

    sparsity: float | None
    block: str
    reason: str
    method: str | None = None

    @property
    def where(self) -> str:
        """The block in words, with the sparsity and the method if there is one."""
        at = "" if self.sparsity is None else f" at {self.sparsity:g}"
        return f"{self.block}{at}" + (f", {self.method}" if self.method else "")


@dataclass(frozen=True)
class Summary:
    """One method at one sparsity, summed over blocks.

    Parameters
    ----------
    sparsity : float
        The sparsity that was asked for.
    method : str
        The method's name.
    blocks, weights, pruned : int
        How many blocks were solved, how many weights they have, and how many of these are pruned.
    objective, selection_objective, bound : float
        Sums of the blocks' objectives with and without the update, and of their best bounds (over all methods). In
        sums over several groups each is divided by its block's ``unit``.
    gap : float
        (objective − bound)/|objective| of the sums; inf if a bound is missing.
    worst_gap : float
        The largest gap of a single block.
    proven : int
        How many blocks have an answer that is proven optimal for the joint problem, by the bound of any method.
    seconds : float
        Sum of the solve times.
    accuracy, selection_accuracy : float or None
        Test accuracy of the network with all these blocks pruned, with and without the update.
    """

    sparsity: float
    method: str
    blocks: int
    weights: int
    pruned: int
    objective: float
    selection_objective: float
    bound: float
    gap: float
    worst_gap: float
    proven: int
    seconds: float
    accuracy: float | None = None
    selection_accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in self.__dict__.items()}


@dataclass(frozen=True)
class Accuracy:
    """Test accuracy of a pruned network.

    Parameters
    ----------
    updated, as_trained : float
        The share of test samples that are classified correctly, from 0 to 1: with the update, and without it.
    """

    updated: float
    as_trained: float


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult(Displayed):
    """Everything a study found.

    Parameters
    ----------
    subject : str
        The name of what was studied.
    blocks, weights : int
        How many blocks were to be solved at each sparsity, and how many weights they have.
    sparsities : tuple of float
        The sparsities that were asked of every block.
    methods : tuple of str
        The methods that were to run.
    rows : tuple of BlockRow
        The answers, one row for each sparsity, block and method.
    failures : tuple of Failure
        The solves without an answer, and the blocks that could not be read or made.
    accuracies : mapping of (sparsity, method) to Accuracy
        The accuracy of the network with a method's answers, for the methods that answered every block.
    dense_accuracy : float or None
        The accuracy of the network before pruning; None for blocks from files, and without labels.
    skipped : mapping of method to reason
        The methods that did not run, or not on every block.
    notes : tuple of str
        What has to be known about the blocks, in sentences.
    settings, environment : mapping
        All that was asked for, and the versions of the software that ran.
    stopped : str
        Why the study ended early; empty if it is complete.
    interrupted : bool
        Whether the user ended the study.
    seconds : float
        Wall time of the study.
    created : str
        When the study began, ISO 8601 in UTC.
    mixed_units : bool
        Whether sums over all blocks count each block relative to the loss of removing it whole.
    totals : mapping of group to int
        How many blocks each layer of a network has, whether they were to be solved or not.
    """

    subject: str
    blocks: int
    weights: int
    sparsities: tuple[float, ...]
    methods: tuple[str, ...]
    rows: tuple[BlockRow, ...]
    failures: tuple[Failure, ...]
    accuracies: Mapping[tuple[float, str], Accuracy]
    dense_accuracy: float | None
    skipped: Mapping[str, str]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    stopped: str
    interrupted: bool
    seconds: float
    created: str
    mixed_units: bool = False
    totals: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the study tried every block, and was not stopped before."""
        return not self.stopped

    @property
    def exit_code(self) -> int:
        """The exit code of `cbs-opt study`: 130 if interrupted, 1 if blocks failed or the study broke off, else 0."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_FAILED_BLOCKS if self.failures or self.stopped else 0

    @property
    def meaning(self) -> tuple[str, str]:
        """What the gap means and what the sums mean, in a sentence each."""
        return GAP_IS_ABOUT_THE_MODEL, SUMS_ARE_RELATIVE if self.mixed_units else SUMS_ARE_VALID

    @property
    def chosen(self) -> str:
        """How many blocks were to be solved: '85', or '40 of 8386' if there are more."""
        total = sum(self.totals.values())
        return f"{self.blocks} of {total}" if total > self.blocks else str(self.blocks)

    def share(self, group: str) -> str:
        """'2 of 72 blocks', if some of a group's blocks have no rows; else the empty string."""
        solved = len({row.row.problem for row in self.rows if row.group == group})
        total = self.totals.get(group, solved)
        return f"{solved} of {total} blocks" if total > solved else ""

    def message(self) -> str:
        """One line on what went wrong, if anything did; else the empty string."""
        if self.stopped:
            return f"{self.stopped}; what is done is kept"
        if self.failures:
            first = self.failures[0]
            return f"{len(self.failures)} block solves failed; the first is {first.where}: {first.reason}"
        return ""

    def summaries(self, group: str | None = None) -> tuple[Summary, ...]:
        """The sums for each sparsity and method, over all blocks or those of one group, in the order of the study."""
        table: dict[tuple[float, str], list[BlockRow]] = {}
        for row in self.rows:
            if group is None or row.group == group:
                table.setdefault((row.sparsity, row.row.method), []).append(row)
        result = []
        for sparsity in self.sparsities:
            for method in self.methods:
                if (sparsity, method) not in table:
                    continue
                summary = _summary(sparsity, method, table[sparsity, method], in_units=group is None)
                measured = self.accuracies.get((sparsity, method)) if group is None else None
                if measured:
                    summary = replace(summary, accuracy=measured.updated, selection_accuracy=measured.as_trained)
                result.append(summary)
        return tuple(result)

    def groups(self) -> tuple[str, ...]:
        """The groups of blocks, in the order of the study."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    def to_frame(self) -> Any:
        """The rows as a ``pandas.DataFrame``, one for each sparsity, block and method; unknown numbers are NaN.

        Raises
        ------
        UnavailableMethodError
            pandas is not installed.
        """
        return frame_of(row.to_dict() for row in self.rows)

    def _card(self) -> Card:
        sparsities = ", ".join(f"{sparsity:g}" for sparsity in self.sparsities)
        return Card(
            f"{self.subject}: {self.chosen} blocks at sparsity {sparsities}, {len(self.methods)} methods, "
            f"{duration(self.seconds)}",
            headings=("sparsity", "method", "gap", "worst gap", "proven", "time"),
            rows=[
                (
                    f"{s.sparsity:g}",
                    s.method,
                    gap_in_words(s.gap),
                    gap_in_words(s.worst_gap),
                    f"{s.proven} of {s.blocks}",
                    duration(s.seconds),
                )
                for s in self.summaries()
            ],
            notes=[*filter(None, [self.message()]), *self.notes],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "study": self.subject,
            "complete": self.complete,
            "stopped": self.stopped or None,
            "created": self.created,
            "seconds": self.seconds,
            "blocks": self.blocks,
            "weights": self.weights,
            "blocks_of_layers": dict(self.totals),
            "sparsities": list(self.sparsities),
            "methods": list(self.methods),
            "dense_accuracy": self.dense_accuracy,
            "meaning": list(self.meaning),
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "environment": dict(self.environment),
            "skipped": dict(self.skipped),
            "summary": [summary.to_dict() for summary in self.summaries()],
            "groups": {group: [s.to_dict() for s in self.summaries(group)] for group in self.groups()},
            "failures": [dict(failure.__dict__) for failure in self.failures],
            "rows": [{**row.to_dict(), "kept": list(row.kept)} for row in self.rows],
        }


def _summary(sparsity: float, method: str, rows: Sequence[BlockRow], in_units: bool) -> Summary:
    judged = [row.row for row in rows]
    units = [row.unit if in_units else 1.0 for row in rows]
    objective = _sum(row.objective / unit for row, unit in zip(judged, units, strict=True))
    gaps = [row.gap for row in judged]
    # The comparator makes every gap ≥ 0; their mean, weighted by the objectives, is the gap of the sums.
    missing = _sum(row.gap * abs(row.objective) / unit for row, unit in zip(judged, units, strict=True) if row.gap > 0)
    return Summary(
        sparsity=sparsity,
        method=method,
        blocks=len(judged),
        weights=sum(row.n for row in judged),
        pruned=sum(row.pruned for row in judged),
        objective=objective,
        selection_objective=_sum(row.selection_objective / unit for row, unit in zip(judged, units, strict=True)),
        bound=total_bound((row.bound for row in judged), units),
        gap=math.inf if not math.isfinite(missing) else missing / abs(objective) if missing > 0 else 0.0,
        worst_gap=max(gaps),
        proven=sum(gap <= GAP_TOLERANCE for gap in gaps),
        seconds=math.fsum(row.seconds for row in judged),
    )


def _sum(values: Iterable[float]) -> float:
    total = list(values)
    return math.fsum(total) if all(map(math.isfinite, total)) else -math.inf
