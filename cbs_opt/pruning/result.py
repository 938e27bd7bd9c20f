"""What ``cbs_opt.prune`` returns: the pruned network, what is proven about it, and how it was reached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.display import Card, Displayed, frame_of
from cbs_opt.kernel.files import write_whole
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.kernel.words import duration, percent, plain_number, proven
from cbs_opt.kernel.words import gap as gap_in_words
from cbs_opt.network.checkpoint import save_masks, save_network, tensor_masks
from cbs_opt.network.measures import Measured
from cbs_opt.network.weights import Weights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StageReport:
    """One stage: how well its quadratic model was solved, and how good the network was after it.

    Parameters
    ----------
    sparsity : float
        The share of zeros that this stage asked for.
    objective, bound, gap : float
        f of the stage's own quadratic model, the proven lower bound on it and the gap; the bound is −inf and the gap
        inf where no bound was proven.
    damping : float or mapping of str to float
        λ, or the λ of each layer.
    quality : float or None
        Accuracy on the test samples (for a language model its perplexity); None if it was not measured.
    """

    sparsity: float
    objective: float
    bound: float
    gap: float
    damping: float | Mapping[str, float]
    quality: float | None = None


@dataclass(frozen=True)
class LayerReport:
    """One layer of the pruned network.

    All but the name and the counts is None where the layer was not optimized as a problem of its own.

    Parameters
    ----------
    name : str
        Name of the module.
    n, pruned : int
        How many weights the layer has, and how many of them are zero.
    objective, bound : float
        f of the layer's own problem, and the proven lower bound on it; −inf without a bound.
    relative : float
        ``objective`` divided by f of the layer with all weights zero.
    gap : float
        (objective − bound)/|objective|; inf without a bound.
    seconds : float
        How long selection, update and bound of this layer took.
    """

    name: str
    n: int
    pruned: int
    objective: float | None = None
    bound: float | None = None
    relative: float | None = None
    gap: float | None = None
    seconds: float | None = None

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.pruned / self.n

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        return {
            "name": self.name,
            "n": self.n,
            "pruned": self.pruned,
            "sparsity": self.sparsity,
            "objective": self.objective,
            "relative": self.relative,
            "bound": None if self.bound is None else finite_or_none(self.bound),
            "gap": None if self.gap is None else finite_or_none(self.gap),
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class BlockReport:
    """One block of layers and the error of its output, ‖pruned − dense‖² over ‖dense‖² on the calibration samples.

    Parameters
    ----------
    name : str
        Name of the module.
    error : float
        The error after the block's layers were pruned.
    refined : float, optional
        The error after the kept weights were refined; None if they were not.
    """

    name: str
    error: float
    refined: float | None = None

    def words(self) -> str:
        """The errors in words: 'output error 0.0123, refined 0.0098'."""
        words = f"output error {self.error:.3g}"
        return words if self.refined is None else f"{words}, refined {self.refined:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        return {"name": self.name, "error": self.error, "refined": self.refined}


@dataclass(frozen=True, eq=False, repr=False)
class Pruned(Displayed):
    """A pruned network, what is proven about it, and how it was reached.

    Parameters
    ----------
    model : torch.nn.Module
        The pruned copy of the network, in eval mode; the given network is as it was.
    weights : Weights
        The prunable weights before they were rounded to the network's precision, and their mask. With ``gram`` and
        ``sequential`` they are float32 if the network holds no more digits.
    stages : tuple of StageReport
        The stages from the first to the last.
    layers : tuple of LayerReport
        The layers in the order of the network.
    settings : mapping
        All that was asked for, and what was chosen by default.
    measured : Measured or None
        Accuracy or perplexity before and after; None without a test set.
    seconds : mapping of phase to float
        Wall time of each phase.
    notes : tuple of str
        Everything that was altered or cut short, in sentences.
    blocks : tuple of BlockReport
        The blocks, if the network was pruned block by block.
    """

    model: torch.nn.Module
    weights: Weights
    stages: tuple[StageReport, ...]
    layers: tuple[LayerReport, ...]
    settings: Mapping[str, Any]
    measured: Measured | None
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    blocks: tuple[BlockReport, ...] = ()

    @property
    def objective(self) -> float:
        """f of the last stage's quadratic model."""
        return self.stages[-1].objective

    @property
    def bound(self) -> float:
        """The proven lower bound on f of the last stage's model; −inf without a bound.

        It is about masks that also prune what earlier stages pruned, unless ``revive`` is set. With ``gram`` and
        ``sequential`` it is the sum of the layers' bounds, each over masks with at least as many zeros in each row (in
        the layer, under the allocation ``layer``; in each group of M, under N:M) as were asked for there.
        """
        return self.stages[-1].bound

    @property
    def gap(self) -> float:
        """(objective − bound)/|objective| of the last stage's model; inf without a bound."""
        return self.stages[-1].gap

    @property
    def bound_asked(self) -> bool:
        """Whether a bound was to be proven even if the method proves none."""
        return bool(self.settings["bound"])

    @property
    def accuracy(self) -> float | None:
        """Share of test samples that the pruned network classifies correctly; None if that was not measured."""
        return self.measured.pruned if self.measured is not None and self.measured.name == "accuracy" else None

    @property
    def accuracy_dense(self) -> float | None:
        """Share of test samples that the dense network classifies correctly; None if that was not measured."""
        return self.measured.dense if self.measured is not None and self.measured.name == "accuracy" else None

    @property
    def sparsity(self) -> float:
        """Share of zeros among the prunable weights."""
        return self.weights.pruned / self.weights.n

    def masks(self) -> dict[str, Mask]:
        """The mask of each pruned tensor, in the tensor's own shape, by its name in ``named_parameters()``; 1 keeps."""
        return tensor_masks(self.weights)

    def attach_masks(self) -> torch.nn.Module:
        """A copy of the pruned network with ``torch.nn.utils.prune`` masks: re-tuned weights in ``weight_orig``."""
        import copy

        import torch
        from torch.nn.utils import prune

        result, masks = copy.deepcopy(self.model), self.masks()
        for target in self.weights.targets:
            mask = torch.from_numpy(masks[target.tensor]).to(result.get_parameter(target.tensor).device)
            module, _, parameter = target.tensor.rpartition(".")
            prune.custom_from_mask(result.get_submodule(module), parameter, mask)  # type: ignore[no-untyped-call]
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all tensors of the network under their own names, as .safetensors, whole or not at all."""
        save_network(self.model, path)

    def save_masks(self, path: str | os.PathLike[str]) -> None:
        """Write the masks (booleans, 1 keeps) under the names of the pruned tensors, as .safetensors."""
        save_masks(self.weights, path)

    def save_report(self, path: str | os.PathLike[str], *, name: str = "") -> None:
        """Write one self-contained HTML page about the network and its layers, as ``cbs-opt prune --report`` does.

        Parameters
        ----------
        path : path
            The file; an existing one is replaced whole or not at all.
        name : str
            The name of the network in the page's title.
        """
        from cbs_opt.pruning.page import page_of_pruned

        page = page_of_pruned(name, self).encode()
        write_whole(path, lambda stream: stream.write(page))

    def to_frame(self) -> Any:
        """The layers as a ``pandas.DataFrame``, a row for each; what is not known of a layer is NaN.

        Raises
        ------
        UnavailableMethodError
            pandas is not installed.
        """
        return frame_of(layer.to_dict() for layer in self.layers)

    def _card(self) -> Card:
        gap = proven(self.gap, gap_in_words, self.bound_asked)
        title = f"{self.weights.pruned:,} of {self.weights.n:,} weights pruned ({percent(self.sparsity)}), gap {gap}"
        facts = {
            "how": f"{self.settings['curvature']} curvature, {self.settings['method']}",
            "objective": plain_number(self.objective),
            "proven bound": proven(self.bound, plain_number, self.bound_asked),
        }
        if self.measured is not None:
            before, after = self.measured.words()
            title += f", {self.measured.name} {after}"
            facts[self.measured.name] = f"{after} (dense {before})"
        facts["time"] = ", ".join(f"{phase} {duration(spent)}" for phase, spent in self.seconds.items())
        headings: tuple[str, ...] = ("layer", "weights", "pruned", "sparsity")
        own = any(layer.objective is not None for layer in self.layers)
        rows = [
            (layer.name, f"{layer.n:,}", f"{layer.pruned:,}", percent(layer.sparsity))
            + ((proven(layer.gap, gap_in_words, self.bound_asked),) if own else ())
            for layer in self.layers
        ]
        return Card(title, facts, (*headings, "gap") if own else headings, rows, self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        last = self.stages[-1]
        name = "accuracy" if self.measured is None else self.measured.name
        return {
            "n": self.weights.n,
            "pruned": self.weights.pruned,
            "sparsity": self.sparsity,
            "objective": last.objective,
            "bound": finite_or_none(last.bound),
            "gap": finite_or_none(last.gap),
            "bound_asked": self.bound_asked,
            "damping": _plain(last.damping),
            **self._measures(),
            "layers": [layer.to_dict() for layer in self.layers],
            "blocks": [block.to_dict() for block in self.blocks],
            "stages": [
                {
                    "sparsity": s.sparsity,
                    "objective": s.objective,
                    "bound": finite_or_none(s.bound),
                    "gap": finite_or_none(s.gap),
                    "damping": _plain(s.damping),
                    name: s.quality,
                }
                for s in self.stages
            ],
            "seconds": dict(self.seconds),
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }

    def _measures(self) -> Mapping[str, float | None]:
        if self.measured is None:
            return {"accuracy_dense": None, "accuracy": None}
        return self.measured.to_dict()


def _plain(damping: float | Mapping[str, float]) -> float | dict[str, float]:
    return dict(damping) if isinstance(damping, Mapping) else damping
