"""What ``cbs_opt.shrink`` returns: the smaller network, its loss, and the proven gap of the allocation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.display import Card, Displayed, frame_of
from cbs_opt.kernel.result import finite_or_none, relative_gap
from cbs_opt.kernel.words import duration, percent, plain_number
from cbs_opt.kernel.words import gap as gap_in_words
from cbs_opt.network.measures import Measured
from cbs_opt.structure.channels import Axis, Positions
from cbs_opt.structure.rebuild import masks
from cbs_opt.structure.saved import save

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SetReport:
    """What was kept of one coupled set of channels.

    Parameters
    ----------
    name : str
        The first module of the network that computes the set's units.
    units : int
        The number of units before.
    kept : tuple of int
        The indices of the units that are kept, ascending.
    loss : float
        The loss on the curve of this set: that of the layers that read it, after re-tuning, weighted by how sensitive
        the network's outputs are to theirs.
    """

    name: str
    units: int
    kept: tuple[int, ...]
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data for JSON."""
        return {"name": self.name, "units": self.units, "kept": list(self.kept), "loss": self.loss}


@dataclass(frozen=True, eq=False, repr=False)
class Shrunk(Displayed):
    """A network with fewer channels, as ``cbs_opt.shrink`` returns it.

    Parameters
    ----------
    model : torch.nn.Module
        The small, dense network in eval mode. The network that was given is not changed.
    masked : torch.nn.Module
        The same network with every tensor in its old shape, zero where something is removed.
    difference : float
        The largest difference between the outputs of the two on a few calibration samples, relative to the largest
        output.
    sets : tuple of SetReport
        What was kept of each coupled set of channels.
    flops, flops_dense : float
        Operations of matrix products and convolutions for one sample, after and before; a multiplication with an
        addition counts as two.
    parameters, parameters_dense : int
        The number of entries of all parameters, after and before.
    loss, bound : float
        The sum of the sets' losses, and a lower bound on it over all numbers of kept units within the budget, on the
        same curves. The bound is −inf where units were not allocated by curves.
    removed : mapping of (tensor, dimension) to positions
        The positions that were removed from each tensor.
    measured : Measured or None
        Accuracy or perplexity before and after; None where there was nothing to measure it on.
    settings, seconds : mappings
        The arguments of the call, and the wall time of each phase.
    notes : tuple of str
        Everything that was altered or cut short, one sentence each.
    """

    model: torch.nn.Module
    masked: torch.nn.Module
    difference: float
    sets: tuple[SetReport, ...]
    flops: float
    flops_dense: float
    parameters: int
    parameters_dense: int
    loss: float
    bound: float
    removed: Mapping[Axis, Positions]
    measured: Measured | None
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """The relative gap (loss − bound)/|loss| of the allocation; inf without a bound."""
        return relative_gap(self.loss, self.bound)

    def masks(self) -> dict[str, Mask]:
        """The masks of all parameters that lost entries, by name and in the parameter's old shape; 1 keeps."""
        return masks(self.masked, self.removed)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` and ``structure.json``, from which ``load_shrunk`` builds the network again."""
        save(self.model, self.masked, self.removed, self.to_dict(), folder)

    def to_frame(self) -> Any:
        """The coupled sets as a ``pandas.DataFrame``, one row for each set.

        Raises
        ------
        UnavailableMethodError
            pandas is not installed.
        """
        return frame_of(part.to_dict() for part in self.sets)

    def _card(self) -> Card:
        flops = percent(self.flops / self.flops_dense)
        parameters = percent(self.parameters / self.parameters_dense)
        title = f"a network with {flops} of the operations and {parameters} of the parameters"
        facts = {
            "operations": f"{self.flops:.3g} of {self.flops_dense:.3g} for a sample",
            "parameters": f"{self.parameters:,} of {self.parameters_dense:,}",
            "loss": f"{plain_number(self.loss)} (gap of the allocation {gap_in_words(self.gap)})",
        }
        if self.measured is not None:
            before, after = self.measured.words()
            title += f", {self.measured.name} {after}"
            facts[self.measured.name] = f"{after} (dense {before})"
        facts["time"] = ", ".join(f"{phase} {duration(spent)}" for phase, spent in self.seconds.items())
        rows = [(part.name, f"{part.units:,}", f"{len(part.kept):,}", plain_number(part.loss)) for part in self.sets]
        return Card(title, facts, ("set", "units", "kept", "loss"), rows, self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the networks as plain data for JSON; an unknown bound or gap is None."""
        return {
            "flops_dense": self.flops_dense,
            "flops": self.flops,
            "parameters_dense": self.parameters_dense,
            "parameters": self.parameters,
            "loss": self.loss,
            "bound": finite_or_none(self.bound),
            "gap": finite_or_none(self.gap),
            "difference": self.difference,
            **({} if self.measured is None else self.measured.to_dict()),
            "sets": [part.to_dict() for part in self.sets],
            "settings": dict(self.settings),
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
        }
