"""From solved blocks back to a network: the pruned network, its masks, and what is proven about all blocks together.

The model of the loss is then block-diagonal, with one block of H for each block file, so that objectives and bounds add
up: no masks that give each block what was asked of it have a loss below the sum of the bounds.
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
"""The number of blocks between two reports of progress."""


@dataclass(frozen=True)
class TensorReport:
    """One weight tensor of the assembled network: its numbers of weights, pruned weights, blocks, and missing answers.

    ``objective`` and ``bound`` are sums over its blocks with an answer; the bound is −inf where one of them has none.
    """

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
        The pruned network in eval mode and in its own precision: a copy; the network that was given is not changed.
    weights : Weights
        The weights before they were rounded to that precision, and their mask.
    tensors : tuple of TensorReport
        The weight tensors, one by one.
    asked : str
        What was asked of each block, for instance 'sparsity 0.8'.
    methods : mapping of str to int
        For each method, the number of blocks whose answer is from it.
    blocks, missing : int
        The number of blocks in the manifest, and of those without an answer, whose weights stayed dense.
    objective, bound : float
        The sums of objectives and of lower bounds over the blocks that have an answer; the bound is −inf where one of
        them has none.
    round_off : float
        How far rounding may have put the objective off.
    accuracy_dense, accuracy : float or None
        Accuracy before and after; None without test samples.
    notes : tuple of str
        What else should be known, one sentence each.
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
        """The relative gap (objective − bound)/|objective| of the sums; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)

    def masks(self) -> dict[str, Mask]:
        """The masks of the tensors, by their names in ``named_parameters()`` and in their own shapes; 1 keeps."""
        return tensor_masks(self.weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all tensors of the network to a .safetensors file under their own names, whole or not at all."""
        save_network(self.model, path)

    def save_masks(self, path: str | os.PathLike[str]) -> None:
        """Write the masks (booleans, 1 keeps) to a .safetensors file under the names of the pruned tensors."""
        save_masks(self.weights, path)

    def to_frame(self) -> Any:
        """The weight tensors as a ``pandas.DataFrame``, one row for each; unknown numbers are NaN.

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
        """Everything but the network and its weights as plain data for JSON; what is unknown is None."""
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
    """Put the answers that a batch has stored into the network that the blocks were cut from.

    Everything is checked: every block file must be the one of the manifest, its weights must be those of the network at
    its place, and every answer must lie in the pattern that was asked for and have the objective that the store says.

    Parameters
    ----------
    manifest : path
        The ``manifest.json`` that ``extract`` wrote, or its folder, with all block files.
    store : path
        The store of the batch that solved the blocks.
    model : torch.nn.Module
        The network as it was when the blocks were cut; it is not changed.
    method : str, optional
        The method whose answers are taken. If left out, the answer with the least objective is taken for each block.
    asked : str, optional
        What was asked of the blocks: 'sparsity 0.8', 'prune 26' or 'pattern 2:4'. It may be left out where the store
        holds results for one request only. The bound of a block is the best of all methods for the same request.
    partial : bool
        Whether blocks without an answer stay dense instead of being an error. At least one block must have an answer.
    data : Data, optional
        Accuracy is measured on its test samples.
    progress : callable, optional
        Called with a few words from time to time.

    Returns
    -------
    Assembled
        The pruned network, and the sums of its blocks' objectives and bounds.

    Raises
    ------
    InputError
        Blocks have no answer (the message says how many, and what to run), or a file, the network or an answer differs
        from the manifest.
    StoreError
        The store cannot be read.
    BoundViolationError
        A bound lies above the objective of an answer, which is a bug in the bound.
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
    """The weights, mask and sums of the blocks that were put together so far."""

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
        """Check one block, and put its answer into its place."""
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
        """One ``TensorReport`` for each tensor."""
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
    """The tensors of the manifest, found in the network; an error where one is missing or has another shape."""
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
