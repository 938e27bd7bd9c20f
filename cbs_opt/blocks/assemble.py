"""From solved blocks back to a network: the pruned checkpoint, its masks, and what is proven about them all together.

For a block-diagonal model of the loss, one block after the other, objectives and bounds add up: no choice of masks that
gives each block what was asked of it has a loss below the sum of the bounds.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.blocks.answers import _Answers, _check_groups, _checked, _objective, _wanted
from cbs_opt.blocks.manifest import Manifest, ManifestBlock, load_manifest
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.display import Card, Displayed, frame_of
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import finite_or_none, relative_gap
from cbs_opt.kernel.sums import total_bound
from cbs_opt.kernel.words import gap as gap_in_words
from cbs_opt.kernel.words import percent, plain_number
from cbs_opt.network.attention import open_attention
from cbs_opt.network.checkpoint import save_masks, save_network, state_digest, tensor_masks
from cbs_opt.network.data import Data
from cbs_opt.network.samples import accuracy, copy_in_precision
from cbs_opt.network.targets import Target, find_tensor
from cbs_opt.network.weights import Weights
from cbs_opt.store import open_store

if TYPE_CHECKING:
    import torch

log = logging.getLogger("cbs_opt")

EVERY = 100
"""Blocks between two words of progress."""


@dataclass(frozen=True)
class TensorReport:
    """One weight tensor: how many of its weights are pruned, and what is known of its blocks together."""

    name: str
    n: int
    pruned: int
    blocks: int
    missing: int
    objective: float
    bound: float


@dataclass(frozen=True, eq=False, repr=False)
class Assembled(Displayed):
    """A network put together from solved blocks.

    Parameters
    ----------
    model : torch.nn.Module
        A pruned copy in eval mode, in the network's own precision; the network that was given is as it was.
    weights : Weights
        The weights before they were rounded to that precision, and their mask.
    tensors : tuple of TensorReport
    asked : str
        What each block was asked for, as 'sparsity 0.8'.
    methods : mapping of str to int
        How many blocks each method's answer was taken for.
    blocks, missing : int
        Of the manifest; those without an answer stayed dense.
    objective, bound : float
        Sums over the blocks that have an answer; −inf where one has no bound.
    round_off : float
        What float64 may have got wrong in the objective.
    accuracy_dense, accuracy : float or None
        None without test samples.
    notes : tuple of str
    """

    model: torch.nn.Module
    weights: Weights
    tensors: tuple[TensorReport, ...]
    asked: str
    methods: dict[str, int]
    blocks: int
    missing: int
    objective: float
    bound: float
    round_off: float
    accuracy_dense: float | None
    accuracy: float | None
    notes: tuple[str, ...]

    @property
    def gap(self) -> float:
        """(objective − bound)/|objective| of the sums; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)

    def masks(self) -> dict[str, Mask]:
        """The mask of each tensor, in its own shape, by its name in ``named_parameters()``; 1 keeps."""
        return tensor_masks(self.weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all tensors of the network under their own names, as .safetensors, whole or not at all."""
        save_network(self.model, path)

    def save_masks(self, path: str | os.PathLike[str]) -> None:
        """Write the masks (booleans, 1 keeps) under the names of the pruned tensors, as .safetensors."""
        save_masks(self.weights, path)

    def to_frame(self) -> Any:
        """The weight tensors as a ``pandas.DataFrame``, a row for each; unknown numbers are NaN.

        Raises
        ------
        UnavailableMethodError
            pandas is not installed.
        """
        return frame_of(self.to_dict()["tensors"])

    def _card(self) -> Card:
        n, pruned = self.weights.n, self.weights.pruned
        facts = {
            "answers": ", ".join(f"{method} {count:,}" for method, count in self.methods.items()),
            "objective": plain_number(self.objective),
            "proven bound": f"{plain_number(self.bound)} (gap {gap_in_words(self.gap)})",
        }
        if self.accuracy is not None:
            facts["accuracy"] = f"{percent(self.accuracy, 2)} (dense {percent(self.accuracy_dense, 2)})"
        rows = [
            (
                t.name,
                f"{t.blocks - t.missing:,} of {t.blocks:,}",
                f"{t.n:,}",
                f"{t.pruned:,}",
                plain_number(t.objective),
            )
            for t in self.tensors
        ]
        title = f"{pruned:,} of {n:,} weights pruned ({percent(pruned / n)}), {self.asked} of each block"
        return Card(title, facts, ("tensor", "blocks", "weights", "pruned"), rows, self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        return {
            "n": self.weights.n,
            "pruned": self.weights.pruned,
            "sparsity": self.weights.pruned / self.weights.n,
            "asked": self.asked,
            "methods": dict(self.methods),
            "blocks": self.blocks,
            "missing": self.missing,
            "objective": self.objective,
            "bound": finite_or_none(self.bound),
            "gap": finite_or_none(self.gap),
            "accuracy_dense": self.accuracy_dense,
            "accuracy": self.accuracy,
            "tensors": [{**tensor.__dict__, "bound": finite_or_none(tensor.bound)} for tensor in self.tensors],
            "notes": list(self.notes),
        }


def assemble(
    manifest: str | os.PathLike[str],
    store: str | os.PathLike[str],
    model: torch.nn.Module,
    *,
    method: str | None = None,
    asked: str | None = None,
    partial: bool = False,
    data: Data | None = None,
    progress: Callable[[str], None] | None = None,
) -> Assembled:
    """Put the answers of a store into the network that the blocks were cut from.

    Nothing is taken on trust: every block file must be the one of the manifest, its weights must be the network's at
    that place, and every answer must lie in the pattern asked for and have the objective that the store says.

    Parameters
    ----------
    manifest : path
        ``manifest.json`` of ``extract``, or its folder with all block files.
    store : path
        Of `cbs-opt batch`.
    model : torch.nn.Module
        The network as it was when the blocks were cut; left as it is.
    method : str, optional
        Whose answers to take. Left out, the best objective of each block.
    asked : str, optional
        'sparsity 0.8', 'prune 26' or 'pattern 2:4', as it was asked of the blocks; may be left out where the store
        holds only one. The bound of a block is the best of all methods for the same.
    partial : bool
        Leave blocks without an answer dense instead of raising, as long as any has one.
    data : Data, optional
        Measure the accuracy on its test samples.
    progress : callable, optional
        Called with a few words now and then.

    Raises
    ------
    InputError
        Blocks without an answer (says how many and what to run), anything that differs from the manifest.
    StoreError
        The store cannot be read.
    BoundViolationError
        A bound lies above an answer's objective: a bug in the bound.
    """
    tell = progress or (lambda words: None)
    plan = load_manifest(manifest)
    targets = _targets(plan, open_attention(copy_in_precision(model, None)))
    if plan.weights.get("state") != state_digest(model):
        origin = plan.weights.get("file") or "its own weights"
        raise InputError(
            f"{plan.file}: the blocks were cut from a network with other weights ({origin}); give the "
            "network the weights it had"
        )
    dense = Weights.of(model, targets)
    with open_store(store) as results:
        wanted = _wanted(results, plan, asked)
        _check_groups(plan, targets, wanted)
        pieces = _Pieces(plan, dense, _Answers(results, plan, wanted, method))
        for number, block in enumerate(plan.blocks):
            if number % EVERY == 0:
                tell(f"block {number + 1:,} of {len(plan.blocks):,}")
            pieces.take(block)
    if pieces.missing and (not partial or len(pieces.missing) == len(plan.blocks)):
        raise InputError(_how_to_run(plan, store, wanted, method, pieces))
    weights = dense.with_values(pieces.values, pieces.mask)
    pruned = weights.into(model).eval()
    tell("measuring accuracy")
    test = None if data is None else (data.test_x, data.test_y)
    return Assembled(
        model=pruned,
        weights=weights,
        tensors=tuple(pieces.reports()),
        asked=str(wanted),
        methods=dict(sorted(pieces.methods.items())),
        blocks=len(plan.blocks),
        missing=len(pieces.missing),
        objective=sum(pieces.objectives.values()),
        bound=total_bound(bound for bounds in pieces.bounds.values() for bound in bounds),
        round_off=pieces.round_off,
        accuracy_dense=None if test is None else accuracy(_copy(model), *test),
        accuracy=None if test is None else accuracy(pruned, *test),
        notes=tuple(_notes(plan, pieces, weights)),
    )


class _Pieces:
    """What has been put together so far."""

    def __init__(self, plan: Manifest, dense: Weights, answers: _Answers) -> None:
        self._plan, self._answers = plan, answers
        self._starts = {target.tensor: part.start for target, part in dense.parts()}
        self._dense = dense
        self.values, self.mask = dense.values.astype(np.float64), dense.mask.copy()
        names = [target.tensor for target in dense.targets]
        self.objectives = dict.fromkeys(names, 0.0)
        self.bounds: dict[str, list[float]] = {name: [] for name in names}
        self._blocks, self._absent = Counter[str](), Counter[str]()
        self.methods = Counter[str]()
        self.missing: list[ManifestBlock] = []
        self.reasons = Counter[str]()
        self.round_off = 0.0
        self.covered = 0

    def take(self, block: ManifestBlock) -> None:
        """Check one block, and put its answer in its place."""
        file = self._plan.path(block)
        self._blocks[block.tensor] += 1
        self.covered += block.n
        start = self._starts[block.tensor] + block.first
        place = slice(start, start + block.n)
        answer, done, reason = self._answers.of(block)
        problem = PruningProblem.load(file, block.content)
        if problem.n != block.n or not np.array_equal(problem.w_bar, self._dense.values[place]):
            raise InputError(
                f"{file}: its weights are not weights {block.first} to {block.first + block.n - 1} of "
                f"{block.tensor}; manifest, block and network do not belong together"
            )
        if answer is None:
            self.missing.append(block)
            self._absent[block.tensor] += 1
            self.reasons[reason] += 1
            return
        objective, round_off = _checked(problem, answer, self._answers.asked, file)
        bound = max((result.bound for result in done if result.bound is not None), default=-math.inf)
        least = min(done, key=_objective)
        try:
            relative_gap(objective, bound, round_off)
            # A bound holds for every answer, not only for the one that is taken.
            relative_gap(_objective(least), bound, least.round_off or 0.0)
        except CbsOptError as error:
            error.args = (f"{file}: {error}", *error.args[1:])
            raise
        assert answer.weights is not None, "checked"
        assert answer.mask is not None, "checked"
        self.values[place], self.mask[place] = answer.weights, answer.mask
        self.objectives[block.tensor] += objective
        # A bound may lie above the objective by round-off; the sum of bounds must not gain by it.
        self.bounds[block.tensor].append(min(bound, objective))
        self.round_off += round_off
        self.methods[answer.method] += 1

    def reports(self) -> Iterator[TensorReport]:
        """One a tensor."""
        for target, part in self._dense.parts():
            pruned = target.numel - int(self.mask[part].sum())
            name = target.tensor
            yield TensorReport(
                name,
                target.numel,
                pruned,
                self._blocks[name],
                self._absent[name],
                self.objectives[name],
                total_bound(self.bounds[name]),
            )


def _targets(plan: Manifest, model: torch.nn.Module) -> list[Target]:
    """The tensors of the manifest in the network."""
    targets = []
    for name, described in plan.tensors.items():
        try:
            target = find_tensor(model, name)
        except InputError as error:
            raise InputError(f"{plan.file}: {name}: {error}") from None
        if list(target.shape) != described["shape"] or target.kind != described.get("kind", target.kind):
            raise InputError(
                f"{plan.file}: {name} has the shape {tuple(described['shape'])}, but in the network "
                f"{target.shape}; give the network that the blocks were cut from"
            )
        targets.append(target)
    if not targets:
        raise InputError(f"{plan.file}: describes no tensors; extract the blocks again")
    return targets


def _how_to_run(
    plan: Manifest, store: str | os.PathLike[str], asked: Asked, method: str | None, pieces: _Pieces
) -> str:
    count, total = len(pieces.missing), len(plan.blocks)
    why = ", ".join(f"{number:,} {reason}" for reason, number in pieces.reasons.most_common())
    retry = " --retry-failed" if set(pieces.reasons) - {"not run"} else ""
    methods = f" --methods {method}" if method else ""
    dense = ", or leave them dense with --partial" if count < total else ""
    return (
        f"{count:,} of {total:,} blocks have no answer{f' of {method}' if method else ''} to {asked} ({why}), "
        f"{pieces.missing[0].file} the first; run `cbs-opt batch {plan.file} --{asked}{methods} --store "
        f"{store}{retry}`{dense}"
    )


def _notes(plan: Manifest, pieces: _Pieces, weights: Weights) -> Iterator[str]:
    if pieces.missing:
        kept = sum(block.n for block in pieces.missing)
        yield (
            f"{len(pieces.missing):,} of {len(plan.blocks):,} blocks have no answer; their {kept:,} weights stayed "
            "dense, and objective and bound are about the others"
        )
    if plan.facts["curvature"] != "fisher" and len(plan.tensors) > 1:
        yield (
            "each layer's objective is of its own outputs and in their unit; the sums add them as they are "
            "(`cbs-opt report` counts each block relative to the loss of removing it)"
        )
    if pieces.covered < weights.n:
        yield f"{weights.n - pieces.covered:,} weights lie in no block of the manifest and stayed dense"
    for target, part in weights.parts():
        if not weights.mask[part].any():
            note = f"layer {target.name}: all its {target.numel} weights are pruned, nothing it is given gets through"
            log.warning("assemble: %s", note)
            yield note


def _copy(model: torch.nn.Module) -> torch.nn.Module:
    import copy

    return copy.deepcopy(model)
