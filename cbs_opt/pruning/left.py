"""What another tool left of a network, which may come as a network, as a checkpoint, or as masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.network.load import MASK, with_masks_applied
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch


def by_tensor(targets: tuple[Target, ...], masks: Mapping[str, Any]) -> dict[str, Any]:
    """The masks by names of tensors; some may be given by the name of the module: 'fc1' for 'fc1.weight'."""
    tensors = {target.name: target.tensor for target in targets if target.tensor not in masks}
    return {tensors.get(name, name): mask for name, mask in masks.items()}


def matrix_from(tensors: Mapping[str, Any], target: Target, what: str) -> Matrix:
    """The target's tensor among ``tensors`` as a matrix (out, in) in float64, which must not be written to.

    Raises
    ------
    InputError
        It is missing, has another shape, or holds NaN or infinity; ``what`` names the tensors.
    """
    import torch

    if target.tensor not in tensors:
        holds = ", ".join(sorted(tensors)[:8]) or "nothing"
        raise InputError(f"{what}: {target.tensor} is missing; it holds {holds}")
    tensor = torch.as_tensor(tensors[target.tensor]).detach().cpu()
    if tuple(tensor.shape) != target.shape:
        raise InputError(f"{what}: {target.tensor} has shape {tuple(tensor.shape)} instead of {target.shape}")
    values: Matrix = target.matrix(tensor.double()).numpy()
    if not np.isfinite(values).all():
        raise InputError(f"{what}: {target.tensor} holds NaN or infinity; all values must be finite")
    return values


def changed_beside(
    dense: torch.nn.Module,
    targets: tuple[Target, ...],
    masks: Mapping[str, Any] | None,
    tensors: Mapping[str, Any] | None,
) -> list[str]:
    """The names of all that masks prune, or that a checkpoint has otherwise than ``dense``, beside the targets."""
    import torch

    own, state = {target.tensor for target in targets}, dense.state_dict()
    found = [name for name, mask in (masks or {}).items() if name not in own and not np.all(np.asarray(mask))]
    for name, tensor in (tensors or {}).items():
        if name in state and name not in own:
            theirs, ours = torch.as_tensor(tensor).cpu(), state[name].cpu()
            alike = theirs.dtype == ours.dtype
            if not (torch.equal(theirs, ours) if alike else torch.equal(theirs.double(), ours.double())):
                found.append(name)
    return list(dict.fromkeys(found))


class Left:
    """The weights of each layer as another tool left them, zero where it pruned.

    Parameters
    ----------
    dense : torch.nn.Module
        The dense network.
    targets : tuple of Target
        The layers that may be asked for.
    pruned : torch.nn.Module, Pruned, or mapping of name to tensor
        The pruned network; or its checkpoint by names of parameters; in both, masks of torch.nn.utils.prune may still
        be attached. Or masks, boolean tensors (1 keeps) by names of parameters or of modules: weights that a mask keeps
        are then those of the dense network, and layers without a mask are kept whole.

    Raises
    ------
    InputError
        It is nothing of these, a mask belongs to no layer, or all tensors hold zeros and ones but are not boolean.
    """

    def __init__(self, dense: torch.nn.Module, targets: tuple[Target, ...], pruned: Any) -> None:
        import torch

        self._dense, self._of_masks = dense, False
        self._network = pruned if isinstance(pruned, torch.nn.Module) else getattr(pruned, "model", None)
        if isinstance(self._network, torch.nn.Module):
            self._what = "the pruned network"
            self._tensors = with_masks_applied(self._network.state_dict(), self._what)
        elif not isinstance(pruned, Mapping) or not pruned:
            raise InputError(
                "pruned: give the pruned network, its checkpoint (tensors by name), or masks (booleans by name, 1 "
                "keeps) as prune(…).masks() has them"
            )
        elif is_of_masks(pruned):
            self._what, self._of_masks = "the masks", True
            self._tensors = by_tensor(targets, {name.removesuffix(MASK): mask for name, mask in pruned.items()})
            self._require_known(targets)
        else:
            self._what = "the checkpoint"
            self._tensors = with_masks_applied(pruned, self._what)

    def matrix(self, target: Target) -> Matrix:
        """The layer's weights (out, in) in float64, which must not be written to.

        Raises
        ------
        InputError
            They are missing, computed from other parameters, not finite, or have another shape.
        """
        if not self._of_masks:
            if self._network is not None and target.tensor not in self._tensors:
                _explain_missing(self._network, target)
            _require_floats(self._tensors.get(target.tensor), target, self._what)
            return matrix_from(self._tensors, target, self._what)
        trained = target.matrix_in(self._dense)
        if target.tensor not in self._tensors:
            return trained
        return np.where(matrix_from(self._tensors, target, self._what) != 0, trained, 0.0)

    def beside(self, targets: tuple[Target, ...]) -> list[str]:
        """The names of tensors that were changed, too, but belong to none of the targets."""
        masks, tensors = (self._tensors, None) if self._of_masks else (None, self._tensors)
        return changed_beside(self._dense, targets, masks, tensors)

    def _require_known(self, targets: tuple[Target, ...]) -> None:
        """Raise if a mask is of nothing that is in the network, or a layer has two."""
        tensors = {*self._dense.state_dict(), *(target.tensor for target in targets)}
        layers = {name for name, layer in self._dense.named_modules() if getattr(layer, "weight", None) is not None}
        layers -= {target.name for target in targets}
        for target in targets:
            if target.name in self._tensors and target.name != target.tensor:
                raise InputError(f"the masks: {target.name} and {target.tensor} are masks of one layer; leave one out")
        unknown = [name for name in self._tensors if name not in tensors | layers]
        if unknown:
            begin = ", ".join(target.name for target in targets[:8])
            raise InputError(f"the masks: {unknown[0]} is no layer of the network; its layers begin with {begin}")


def _require_floats(tensor: Any, target: Target, what: str) -> None:
    """Raise if a weight is of integers, as quantized ones are, or complex."""
    import torch

    if tensor is not None and not torch.as_tensor(tensor).is_floating_point():
        kind = str(torch.as_tensor(tensor).dtype).removeprefix("torch.")
        raise InputError(f"{what}: {target.tensor} is {kind}; weights are judged as floating-point numbers")


def is_of_masks(tensors: Mapping[str, Any]) -> bool:
    """Whether all tensors are boolean, so that they are masks and no weights.

    Raises
    ------
    InputError
        A value is no tensor; or all hold zeros and ones alone, so that they may be masks, but are not boolean.
    """
    import torch

    def read(name: str) -> torch.Tensor:
        try:
            return torch.as_tensor(tensors[name])
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"pruned: {name} is no tensor but {type(tensors[name]).__name__}; give tensors by name, of a training "
                "checkpoint the part that holds the weights"
            ) from error

    if all(read(name).dtype == torch.bool for name in tensors):
        return True
    if all(bool(((read(name) == 0) | (read(name) == 1)).all()) for name in tensors):
        raise InputError(
            "pruned: its tensors hold nothing but zeros and ones, but they are not boolean; give masks as booleans, "
            "each as mask.bool()"
        )
    return False


def _explain_missing(network: torch.nn.Module, target: Target) -> None:
    """Raise with the reason why ``network`` does not hold the target's weight."""
    layer = dict(network.named_modules()).get(target.name)
    if layer is not None and getattr(layer, "weight", None) is not None:
        raise InputError(
            f"layer {target.name}: in the pruned network its weight is no parameter but computed (parametrized, normed "
            "or quantized); make it one first, as torch.nn.utils.parametrize.remove_parametrizations does"
        )
    raise InputError(f"{target.tensor}: is not in the pruned network; give two of the same kind")
