"""Bound and gap of a network that any tool has pruned, on the Fisher of the whole dense network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.collect import gradient_factor
from cbs_opt.errors import InputError
from cbs_opt.evaluation.certify import Judgement
from cbs_opt.evaluation.certify import certify as certify_problem
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.network.attention import own_copy
from cbs_opt.network.data import calibration
from cbs_opt.network.inference import outside_inference_mode
from cbs_opt.network.load import with_masks_applied
from cbs_opt.network.samples import clipped, draw
from cbs_opt.network.targets import Target, find_targets
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.fisher import fisher_problem
from cbs_opt.pruning.left import by_tensor, changed_beside, is_of_masks, matrix_from
from cbs_opt.pruning.settings import Settings

if TYPE_CHECKING:
    import torch


@outside_inference_mode
def certify_network(
    model: torch.nn.Module,
    data: Any,
    masks: dict[str, Any] | None = None,
    pruned: dict[str, torch.Tensor] | None = None,
    *,
    samples: int = 1_000,
    damping: float | None = None,
    dampening_frac: float | None = None,
    targets: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    precision: Any = "float32",
    seed: int = 0,
    name: str = "network",
) -> Judgement:
    """Judge masks, or a pruned checkpoint, by the quadratic model of the loss around the dense network.

    Parameters
    ----------
    model : torch.nn.Module
        The dense network.
    data : Data, or (x, y)
        Samples with labels; the quadratic model is made from ``samples`` of them, drawn as ``prune`` draws them.
    masks : mapping of parameter name, or of a target's module name, to boolean array, optional
        1 keeps; in the shape of the tensor. Left out, a weight counts as pruned where the checkpoint is exactly zero.
    pruned : mapping of parameter name to tensor, optional
        A pruned checkpoint; its weights are judged as they are, too.
    samples : int
        How many samples the quadratic model is made from.
    damping, dampening_frac : float
        λ, as ``prune`` takes it.
    targets, ignore : patterns
        Names of layers, as ``prune`` takes them.
    precision : 'float32' or 'float64'
        Precision of the per-sample gradients.
    seed : int
        Seed of the draw of samples.
    name : str
        Name of the network in tables and messages.

    Raises
    ------
    InputError
        Neither masks nor a checkpoint are given, tensors are missing or have another shape, or a mask prunes a weight
        that is not zero in the checkpoint.
    """
    if masks is None and pruned is None:
        raise InputError("give masks, or a pruned checkpoint")
    if pruned is not None:
        if is_of_masks(pruned):
            raise InputError("pruned: holds masks and no weights; give them as masks (--mask)")
        pruned = with_masks_applied(pruned, "the checkpoint")
    settings = Settings(
        curvature="fisher", damping=damping, dampening_frac=dampening_frac, precision=precision, method="magnitude"
    )
    dense = own_copy(model)
    chosen = find_targets(dense, targets, ignore)
    masks = None if masks is None else by_tensor(chosen, masks)
    weights = Weights.of(dense, chosen)
    given = None if pruned is None else _flatten(chosen, pruned, "the checkpoint")
    if masks is None:
        assert given is not None, "one of the two is given"
        z: Mask = given != 0
    else:
        z = _flatten(chosen, masks, "the masks") != 0
    x, y = calibration(data)
    samples, of_samples = clipped(samples, len(x))
    numbers = draw(len(x), samples, seed)
    if given is not None:
        _check_agree(weights, z, given)
    factor = gradient_factor(
        dense, x.take(numbers), y[numbers], chosen, seed=seed, precision=settings.precision, numbers=numbers
    )
    problem = fisher_problem(factor, weights, weights.mask, settings, name=name)
    judged = certify_problem(problem, z, given)
    not_judged = [
        f"{name}: is changed, too, but not among the targets; that is not judged"
        for name in changed_beside(dense, chosen, masks, pruned)
    ]
    model_note = f"empirical Fisher of {samples} samples, seed {seed}, λ = {problem.curvature.damping:.4g}"
    return replace(
        judged,
        notes=(model_note, *of_samples, *factor.notes, *not_judged, *judged.notes),
    )


def load_masks(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Masks by parameter name from a .safetensors, .npz or torch file; 'fc1.weight_mask' means 'fc1.weight'.

    A checkpoint that torch.nn.utils.prune has masked can be given, too: a weight that has no mask there is kept whole.

    Raises
    ------
    InputError
        A mask has other values than 0 and 1, or two masks of one weight differ.
    """
    from cbs_opt.network.load import MASK, load_tensors, masked_names, stored_tensors

    tensors = stored_tensors(path)
    split = masked_names(tensors)
    if split:
        whole = load_tensors(path)
        return {
            name: tensors[f"{name}{MASK}"].numpy() if name in split else np.ones(tensor.shape, dtype=np.bool_)
            for name, tensor in whole.items()
        }
    found: dict[str, Any] = {}
    for key, tensor in tensors.items():
        values, name = tensor.numpy(), key.removesuffix(MASK)
        if not np.isin(values, (0, 1)).all():
            raise InputError(
                f"{path}: {key} holds other values than 0 and 1; masks are booleans, 1 keeps (a checkpoint is given as "
                "--pruned)"
            )
        if name in found and not np.array_equal(found[name], values):
            raise InputError(f"{path}: {name} and {name}{MASK} are different masks of one weight; leave one out")
        found[name] = values
    return found


def _check_agree(weights: Weights, z: Mask, given: Vector) -> None:
    """Raise unless the checkpoint is zero wherever the mask prunes."""
    for target, part in weights.parts():
        wrong = int(np.count_nonzero(given[part][~z[part]]))
        if wrong:
            raise InputError(
                f"{target.tensor}: {wrong} weights that the mask prunes are not zero in the checkpoint; "
                "give a mask and a checkpoint that belong together"
            )


def _flatten(targets: tuple[Target, ...], tensors: dict[str, Any], what: str) -> Vector:
    """The targets' tensors as one vector in the order of ``Weights``."""
    return np.concatenate([matrix_from(tensors, target, what).ravel() for target in targets])
