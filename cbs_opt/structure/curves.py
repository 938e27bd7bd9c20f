"""The error curves of all sets, and how many units each of them keeps within a budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.collect import layer_grams
from cbs_opt.kernel.curvature.damping import dominance_note
from cbs_opt.network.samples import Drawn
from cbs_opt.network.targets import Target
from cbs_opt.pruning.sensitivity import sensitivities
from cbs_opt.pruning.stage import Clock
from cbs_opt.structure.allocate import allocate
from cbs_opt.structure.channels import CoupledSet
from cbs_opt.structure.cost import Cost
from cbs_opt.structure.removal import Reader, Trace, columns_of, norms, trace

if TYPE_CHECKING:
    import torch

LEVELS = 32
"""The largest number of levels of a set: numbers of kept units from one to all, evenly spaced."""


class Curves:
    """The error curves of all sets, from one pass through the dense network.

    Parameters
    ----------
    dense : torch.nn.Module
        The dense network.
    samples : Drawn
        The calibration samples.
    targets : sequence of Target
        Layers of the network, all readers of the sets among them.
    sets : sequence of CoupledSet
        The coupled sets.
    selection : 'joint' or 'magnitude'
        Whether units are removed greedily by the joint loss, or in the order of the norms of the weights that compute
        them.
    damping, dampening_frac : float or None
        λ itself, or λ as a fraction of the mean diagonal of each Gram matrix; exactly one is a number.
    clock : Clock
        Measures the time of each phase.
    seed : int
        The seed of the random signs with which sensitivities are measured.

    Attributes
    ----------
    traces : list of Trace
        For each set, the order in which its units are removed and the loss after each.
    notes : list of str
        What was altered, one sentence each.
    """

    def __init__(
        self,
        dense: torch.nn.Module,
        samples: Drawn,
        targets: Iterable[Target],
        sets: Sequence[CoupledSet],
        selection: str,
        damping: float | None,
        dampening_frac: float | None,
        clock: Clock,
        seed: int,
    ) -> None:
        by_tensor = {target.tensor: target for target in targets}
        read = {part.tensor: by_tensor[part.tensor] for one in sets for part in one.readers}
        with clock.phase("curvature", "collecting the inputs of layers"):
            grams = layer_grams(
                dense,
                samples.x,
                read.values(),
                damping=damping,
                dampening_frac=dampening_frac,
                numbers=samples.numbers,
            )
            felt = sensitivities(dense, samples.x, read.values(), seed=seed, numbers=samples.numbers)
        self.notes = [note for layer in grams.values() for note in layer.notes]
        self.notes += dominance_note([layer.dominance for layer in grams.values()])
        self.traces: list[Trace] = []
        self._sets = sets
        for one in sets:
            with clock.phase("selection", f"removing units of {one.name}"):
                readers = [
                    Reader(grams[target.name], felt[target.name], columns_of(target, part))
                    for part, target in ((part, read[part.tensor]) for part in one.readers)
                ]
                order = np.argsort(norms(dense, one), kind="stable") if selection == "magnitude" else None
                self.traces.append(trace(readers, one.units, order))

    def losses(self, counts: Sequence[int]) -> list[float]:
        """The loss of each set where ``counts`` of its units are kept."""
        return [float(one.losses[len(one.losses) - k]) for one, k in zip(self.traces, counts, strict=True)]

    def within(self, cost: Cost, most: float) -> tuple[list[int], float]:
        """How many units each set keeps for the least loss at a cost of at most ``most``, and a lower bound on it."""
        levels = [
            np.unique(np.linspace(1, one.units, min(one.units, LEVELS)).round().astype(int)) for one in self._sets
        ]
        pairs = np.argwhere(np.triu(cost.quadratic, 1)).tolist()
        found = allocate(
            [one.losses[len(one.losses) - k] for one, k in zip(self.traces, levels, strict=True)],
            [cost.linear[s] * k + cost.quadratic[s, s] * k**2 for s, k in enumerate(levels)],
            most - cost.constant,
            {(s, t): cost.quadratic[s, t] * np.outer(levels[s], levels[t]) for s, t in pairs},
        )
        return [int(k[i]) for k, i in zip(levels, found.levels, strict=True)], found.bound


def uniform(sets: Sequence[CoupledSet], cost: Cost, most: float) -> list[int]:
    """How many units each set keeps if all keep the same share, the largest that costs at most ``most``; at least one.

    Since numbers of units are rounded down, a part of the budget is left. The sets that were rounded down most get one
    more unit each, as far as it allows.
    """
    units = np.array([one.units for one in sets])
    shares = np.unique(np.concatenate([np.arange(1, count + 1) / count for count in units]))
    counts = [np.maximum(1, np.floor(share * units + 1e-9)).astype(int) for share in shares]
    place = max((i for i, count in enumerate(counts) if cost.of(count) <= most), default=0)
    found, wished = counts[place], shares[min(place + 1, len(shares) - 1)] * units
    for s in np.argsort(found - wished, kind="stable"):
        more = found + (np.arange(len(units)) == s)
        if more[s] <= units[s] and cost.of(more) <= most:
            found = more
    return [int(count) for count in found]
