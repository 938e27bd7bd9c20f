"""One stage layer by layer: each layer's outputs are to stay close to the dense layer's.

With the curvature ``gram`` every layer has its inputs in the dense network, which makes a block-diagonal model of the
whole network. With ``sequential`` the layers are taken in the order of execution, each with the inputs that the layers
pruned before it give, and with the dense network's outputs as target (``cbs_opt.collect.sequential``): later layers
repair what earlier ones did. How many weights each row or layer loses is decided beforehand (``allocation``); which
weights these are is decided layer by layer, by a method on the layer's own problem (``group_problem``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import LayerModel, layer_grams, sequential_layers
from cbs_opt.collect.layer_model import group_problem, groups
from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.evaluation.catalogue import method as method_named
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.kernel.curvature import DenseCurvature, RowsCurvature
from cbs_opt.kernel.device import device_named
from cbs_opt.kernel.patterns import Labelled, Quotas
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Solution
from cbs_opt.kernel.sums import total_bound
from cbs_opt.network.placement import is_on
from cbs_opt.network.samples import Drawn
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.allocation import n_of_m_pattern, n_of_m_quotas, quotas
from cbs_opt.pruning.block_by_block import block_by_block
from cbs_opt.pruning.bound_time import BoundTime
from cbs_opt.pruning.estimate import Speed, operations
from cbs_opt.pruning.refine import STEPS
from cbs_opt.pruning.result import BlockReport
from cbs_opt.pruning.stage import Clock, Draw, LayerLoss, LayerOutcome, Stage
from cbs_opt.pruning.work import StageFolder

if TYPE_CHECKING:
    import torch

    from cbs_opt.pruning.settings import Settings


class LayerStages:
    """The stages layer by layer; each collects inputs on samples of its own, the targets are the dense network's."""

    def __init__(self, dense: torch.nn.Module, weights: Weights, settings: Settings, draw: Draw) -> None:
        self._dense, self._settings, self._draw = dense, settings, draw

    @staticmethod
    def check(weights: Weights, settings: Settings) -> None:
        """Raise if the method cannot take a layer's problem, or a layer cannot be taken on this curvature."""
        check_method(weights, settings)

    def stage(self, number: int, now: torch.nn.Module, weights: Weights, prune: int, clock: Clock) -> Stage:
        """See ``layer_stage``."""
        samples = self._draw(number)
        work = None
        if self._settings.work is not None:
            asked = {"settings": self._settings.told(), "prune": prune, "stage": number}
            work = StageFolder.open(Path(self._settings.work), number, asked, self._dense, weights, samples)
        return layer_stage(self._dense, now, samples, weights, prune, self._settings, clock, work)


def layer_stage(
    model: torch.nn.Module,
    now: torch.nn.Module,
    samples: Drawn,
    weights: Weights,
    prune: int,
    settings: Settings,
    clock: Clock,
    work: StageFolder | None = None,
) -> Stage:
    """Prune at least ``prune`` weights of the network, counting those that ``weights`` has pruned already.

    Parameters
    ----------
    model : torch.nn.Module
        The dense network: its outputs are the targets, and its weights are w̄.
    now : torch.nn.Module
        The network as the stage before left it; on it, how many weights each row loses is decided.
    samples : Drawn
        Calibration samples; labels are not needed.
    weights : Weights
        The weights of ``now`` and their mask.
    work : StageFolder, optional
        With ``sequential``: the folder that keeps the outcome of each block.
    """
    with clock.phase("allocation", "deciding how many weights each layer and row loses"):
        if settings.n_of_m is None:
            shares = quotas(
                settings.allocation,
                now,
                samples,
                weights,
                prune,
                seed=settings.seed,
                damping=settings.damping,
                dampening_frac=settings.dampening_frac,
            )
        else:
            shares = n_of_m_quotas(weights, *settings.n_of_m)
    solver = LayerSolver(shares, weights, settings, clock)
    notes: list[str] = []
    if settings.curvature == "gram":
        with clock.phase("curvature", "collecting layer inputs"):
            layers = layer_grams(
                model,
                samples.x,
                weights.targets,
                damping=settings.damping,
                dampening_frac=settings.dampening_frac,
                numbers=samples.numbers,
                proving=bool(settings.bound),
            )
        for layer in layers.values():
            solver.solve(layer)
            notes += layer.notes
        blocks: tuple[BlockReport, ...] = ()
    else:
        sequence = sequential_layers(
            model,
            samples.x,
            weights.targets,
            damping=settings.damping,
            dampening_frac=settings.dampening_frac,
            least_batches=STEPS if settings.refine else 1,
            device=None if is_on(model, device_named(settings.device)) else settings.device,
            numbers=samples.numbers,
            proving=bool(settings.bound),
        )
        counted, estimate = operations(sequence, shares, settings), None
        if counted is not None:
            speed = Speed.measured(sequence.pruned.device)
            estimate = [speed.seconds(block) for block in counted]
        blocks = block_by_block(sequence, solver, settings, clock, work, estimate)
        notes += sequence.notes
    losses = solver.losses
    return Stage(
        weights=solver.weights,
        objective=float(sum(loss.objective for loss in losses.values())),
        bound=total_bound([loss.bound for loss in losses.values()]),
        round_off=solver.round_off,
        damping=solver.damping,
        dominance=solver.dominance,
        layers=losses,
        blocks=blocks,
        notes=tuple(dict.fromkeys([*notes, *solver.notes])),
    )


def check_method(weights: Weights, settings: Settings) -> None:
    """Raise, before anything is computed, if the method cannot take a layer's problem, or a layer cannot be taken.

    Raises
    ------
    MethodError, InputError
    """
    one = PruningProblem(np.ones(2), RowsCurvature(DenseCurvature(np.eye(1)), 2), pattern=Quotas([1, 1], 0))
    method_named(settings.method).check(one)
    if settings.curvature == "sequential" and any(target.name == "" for target in weights.targets):
        raise InputError("model: is a single layer itself; put it into a torch.nn.Sequential, or take curvature gram")


class LayerSolver:
    """Solves one layer after the other and keeps the outcome of each, by module name.

    Attributes
    ----------
    weights : Weights
        The new weights of the layers solved so far, in the precision of the weights ``before``; ``matrices`` and
        ``masks`` (out, in) are views into them.
    losses : mapping of module name to LayerLoss
    damping, dominance : mappings of module name to float
        λ, and λ divided by the mean diagonal of the curvature without it.
    round_off : float
        What float64 may have got wrong in the sum of all objectives.
    notes : list of str
    """

    def __init__(
        self, quotas: Mapping[str, NDArray[np.int64]], before: Weights, settings: Settings, clock: Clock
    ) -> None:
        self._quotas, self._alive, self._settings, self._clock = quotas, before.masks(), settings, clock
        values = np.empty(before.n, dtype=before.values.dtype)
        self.weights = before.with_values(values, np.empty(before.n, dtype=np.bool_))
        self.matrices, self.masks = self.weights.matrices(), self.weights.masks()
        self.losses: dict[str, LayerLoss] = {}
        self.damping: dict[str, float] = {}
        self.dominance: dict[str, float] = {}
        self.notes: list[str] = []
        self._bound_time = BoundTime(settings.bound_time, before.n)

    @property
    def round_off(self) -> float:
        """What float64 may have got wrong in the sum of all objectives."""
        return sum(loss.round_off for loss in self.losses.values())

    def solve(self, layer: LayerModel) -> Matrix:
        """Prune a layer and return its new weights (out, in)."""
        with layer.target.naming():
            return self._solve(layer)

    def put(self, name: str, outcome: LayerOutcome) -> None:
        """Take over the outcome of a layer that an earlier run pruned."""
        self.matrices[name][...], self.masks[name][...] = outcome.weights, outcome.mask
        self._bound_time.skip(outcome.mask.size)
        self.losses[name] = outcome.loss
        self.damping[name], self.dominance[name] = outcome.damping, outcome.dominance

    def reweigh(self, name: str, weights: Matrix) -> None:
        """Replace the weights (out, in) of a layer that was pruned; its mask stays."""
        self.matrices[name][...] = np.where(self.masks[name], weights, 0.0)

    def outcome(self, name: str) -> LayerOutcome:
        """The outcome of a layer that was pruned."""
        return LayerOutcome(
            self.matrices[name], self.masks[name], self.losses[name], self.damping[name], self.dominance[name]
        )

    def _solve(self, layer: LayerModel) -> Matrix:
        quota, alive = self._quotas[layer.name], self._alive[layer.name]
        matrix, mask = self.matrices[layer.name], self.masks[layer.name]
        objective, emptied, round_off, bounds = 0.0, 0.0, 0.0, []
        started = time.perf_counter()
        for group, rows in groups(layer.target):
            gone = ~alive[rows].ravel() & (not self._settings.revive)
            of_group = np.split(quota, layer.target.groups)[group]
            if self._settings.n_of_m is None:
                pattern: Labelled = Quotas(np.full(len(of_group), layer.target.numel // len(quota)), of_group)
            else:
                pattern = n_of_m_pattern(layer.target, len(mask[rows]), *self._settings.n_of_m)
            problem = group_problem(layer, group, rows, pattern.fixed(np.zeros_like(gone), gone))
            with self._clock.phase("selection", f"pruning layer {layer.name}"):
                found = solve(problem, self._settings.method, seed=self._settings.seed, **self._settings.options)
            matrix[rows] = found.weights.reshape(-1, layer.target.inputs)
            mask[rows] = found.mask.reshape(-1, layer.target.inputs)
            objective += found.objective
            emptied += problem.objective(np.zeros(problem.n))
            round_off += found.round_off
            self.notes += [note for note in found.notes if note not in self.notes]
            bounds.append(self._bound(found, problem))
        seconds = time.perf_counter() - started
        self.losses[layer.name] = LayerLoss(objective, total_bound(bounds), emptied, round_off, seconds)
        self.damping[layer.name], self.dominance[layer.name] = layer.damping, layer.dominance
        return matrix

    def _bound(self, found: Solution, problem: PruningProblem) -> float:
        if not self._settings.bound:
            return -np.inf
        with self._clock.phase("bound", f"bounding {problem.name}"):
            try:
                proven = lower_bound(problem, self._settings.device, self._bound_time.share(problem.n))
            except NotPositiveDefiniteError:
                self.notes.append(
                    f"{problem.name}: has no bound, since λ = {problem.curvature.damping:.2g} is below what rounding "
                    "may have done to the sums over its inputs; a larger damping gives one"
                )
                return -np.inf
        self._bound_time.charge(problem.n, proven.seconds)
        return max(found.bound, proven.value)
