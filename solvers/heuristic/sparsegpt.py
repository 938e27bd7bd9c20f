"""SparseGPT: one pass over the inputs of a layer, all rows at once; pruned weights are made up for by later inputs.

With the Cholesky factor H⁻¹ = UᵀU, U upper triangular, row i of U holds what pruning weight i asks of the weights
after it, those before being settled: with e = w_i/U_ii the later weights change by −e U_i,: and the loss grows by ½e².
In blocks of ``block`` inputs the mask is chosen by w_i²/U_ii², smallest first, block by block; updates within a block
are made at once, those of later blocks together, as one matrix product.

Frantar & Alistarh, SparseGPT, ICML 2023. Every block prunes its share of what each segment of the pattern still has to
prune, so the quotas are met exactly; where segments are shorter than a block (N:M), the mask is chosen as each
begins. Only the mask is taken: the weights get the exact update, which all rows can afford here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.errors import InputError
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Labelled
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.layer_tensors import Layer, to_mask, top_of_segments

if TYPE_CHECKING:
    import torch


def run(problem: PruningProblem, *, block: int = 128, device: str = "cpu") -> Outcome:
    """One pass over the inputs.

    Parameters
    ----------
    block : int
        Inputs whose mask is chosen together, ≥ 1.
    device : str
        'cpu' or 'cuda'.
    """
    if block < 1:
        raise InputError(f"block: is {block}; at least 1 is needed")
    layer = Layer.of(problem, device)
    return Outcome(to_mask(one_pass(layer, block)))


def one_pass(layer: Layer, block: int) -> torch.Tensor:
    """The mask, shape (rows, d)."""
    import torch

    inverse = torch.cholesky_inverse(torch.linalg.cholesky(layer.U))
    upper = torch.linalg.cholesky(inverse, upper=True)
    W, z = layer.target.clone(), torch.ones_like(layer.keep)
    segments = len(layer.room)
    size = torch.bincount(layer.labels.flatten(), minlength=segments)
    to_prune, ahead = size - layer.room, size.clone()
    every = _mask_step(layer, block)
    for start in range(0, layer.d, block):
        stop = min(start + block, layer.d)
        errors = torch.zeros_like(W[:, start:stop])
        for i in range(start, stop):
            if (i - start) % every == 0:
                part = slice(i, min(i + every, stop))
                z[:, part] = _chosen(layer, part, W[:, part] / upper.diagonal()[part], to_prune, ahead)
            error = torch.where(z[:, i], 0.0, W[:, i] / upper[i, i])
            W[:, i:stop] -= error[:, None] * upper[i, i:stop]
            errors[:, i - start] = error
        W[:, stop:] -= errors @ upper[start:stop, stop:]
    return z


def _mask_step(layer: Layer, block: int) -> int:
    """Inputs whose mask is chosen together: a segment where it fits into a block and divides the row, else a block."""
    longest = int((layer.labels[0] == layer.labels[0, 0]).sum())
    if layer.within_rows and longest < block and block % longest == 0:
        return longest
    return block


def _chosen(
    layer: Layer, part: slice, scores: torch.Tensor, to_prune: torch.Tensor, ahead: torch.Tensor
) -> torch.Tensor:
    """The mask of the inputs ``part``; counts down, in place, what each segment has to prune and has ahead."""
    import torch

    keep, forbid, labels = layer.keep[:, part], layer.forbid[:, part], layer.labels[:, part]
    inside = torch.bincount(labels.flatten(), minlength=len(to_prune))
    forced = torch.bincount(labels[keep], minlength=len(to_prune))
    gone = torch.bincount(labels[forbid], minlength=len(to_prune))
    # Kept ones still to come may not be pruned in a later part, so some have to go now.
    share = (to_prune * inside + ahead // 2) // ahead.clamp(min=1)
    later = layer.labels[:, part.stop :]
    prunable_later = torch.bincount(later[~layer.keep[:, part.stop :]], minlength=len(to_prune))
    least = torch.maximum(to_prune - prunable_later, gone)
    gone_later = torch.bincount(later[layer.forbid[:, part.stop :]], minlength=len(to_prune))
    share = torch.minimum(share, (to_prune - gone_later).clamp(min=0))
    share = torch.minimum(torch.maximum(share, least), inside - forced)
    z = top_of_segments(scores * scores, keep, forbid, labels, inside - share)
    to_prune -= torch.bincount(labels[~z], minlength=len(to_prune))
    ahead -= inside
    return z


SPEC = MethodSpec(
    name="sparsegpt",
    run=run,
    summary="one pass over the inputs of a layer, later inputs make up for what is pruned",
    exact=False,
    objective=Objective.JOINT,
    reference="Frantar & Alistarh, ICML 2023",
    patterns=(Labelled,),
    left_out_because="made for layers and whole networks",
)
