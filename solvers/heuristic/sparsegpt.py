"""SparseGPT: one pass over the inputs of a layer, all rows at once; weights of later inputs make up for pruned ones.

With the Cholesky factor H⁻¹ = UᵀU, U upper triangular, row i of U holds how the weights after weight i change when that
is pruned and those before it stay as they are: with e = w_i/U_ii they change by −e U_i,: and the loss grows by ½e².
Block by block of ``block`` inputs, the mask prunes the weights with the smallest w_i²/U_ii². Updates within a block are
made weight by weight, those of all later blocks together, as one matrix product.

Frantar & Alistarh, SparseGPT, ICML 2023. Every block prunes its share of what each segment of the pattern still has to
prune, so that the quotas are met exactly. Where segments are shorter than a block (N:M), the mask of a segment is
chosen when the pass reaches it. Only the mask is taken from the pass: the weights then get the exact update. On large
layers the pass is in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.errors import InputError
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.patterns import Labelled
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.layer_tensors import Layer, in_loops, to_mask
from cbs_opt.solvers.forms.segments import Segments

if TYPE_CHECKING:
    import torch


PER_WEIGHT = 20_000
"""For the estimate of work: operations for each weight beside the matrix products."""


def run(problem: PruningProblem, *, block: int = 128, device: str = "cpu") -> Outcome:
    """Choose the mask in one pass over the inputs.

    Parameters
    ----------
    block : int
        Number of inputs whose mask is chosen together, ≥ 1.
    device : str
        Where the pass runs: 'cpu' or 'cuda'.
    """
    if block < 1:
        raise InputError(f"block: is {block}; at least 1 is needed")
    layer = Layer.of(problem, device)
    return Outcome(to_mask(one_pass(layer, block)))


def one_pass(layer: Layer, block: int) -> torch.Tensor:
    """The mask of one pass in blocks of ``block`` inputs, shape (rows, d)."""
    import torch

    upper = _upper(layer.U)
    W, together = layer.target.T.contiguous(), _chosen_together(layer, block)
    if layer.in_single:
        upper, W = upper.float(), W.float()
    z = torch.ones_like(layer.keep)
    quotas = _Quotas(layer)
    diagonal = upper.diagonal().tolist()
    for start in range(0, layer.d, block):
        stop = min(start + block, layer.d)
        errors = torch.zeros_like(W[start:stop])
        for i in range(start, stop):
            if (i - start) % together == 0:
                part = slice(i, min(i + together, stop))
                z[:, part] = quotas.chosen(part, (W[part] / upper.diagonal()[part, None]).T)
                pruned = (~z[:, part]).T.to(W.dtype)
            error = torch.mul(W[i], pruned[i - part.start], out=errors[i - start])
            error /= diagonal[i]
            W[i:stop].addr_(upper[i, i:stop], error, alpha=-1.0)
        W[stop:].addmm_(upper[start:stop, stop:].T, errors, alpha=-1.0)
    return z


def _upper(U: torch.Tensor) -> torch.Tensor:
    """The upper triangular F with U⁻¹ = FᵀF: R⁻¹ for U = RRᵀ, R upper triangular (a Cholesky factor from the end)."""
    import torch

    R = torch.linalg.cholesky(U.flip(0, 1)).flip(0, 1)
    return torch.linalg.solve_triangular(R, torch.eye(len(U), dtype=U.dtype, device=U.device), upper=True)


def _chosen_together(layer: Layer, block: int) -> int:
    """How many inputs have their mask chosen together: one segment where segments divide a block, else a block."""
    longest = int((layer.labels[0] == layer.labels[0, 0]).sum())
    if layer.within_rows and longest < block and block % longest == 0:
        return longest
    return block


class _Quotas:
    """What each segment of the pattern still has to prune, counted down as the pass goes over the inputs."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.ahead = self._count(layer.labels)
        self.to_prune = self.ahead - layer.room

    def chosen(self, part: slice, scores: torch.Tensor) -> torch.Tensor:
        """The mask (rows, inputs) of the inputs ``part``, the next in turn, which prunes where |score| is least."""
        import torch

        layer, segments = self.layer, self.layer.segments
        keep, forbid, labels = layer.keep[:, part], layer.forbid[:, part], layer.labels[:, part]
        if layer.within_rows and segments.length == part.stop - part.start:
            # The part is one whole segment of every row, so that all of its quota is pruned here.
            here = Segments(keep, forbid, labels, layer.room[labels[:, 0]], segments.forced, segments.length)
            return here.top(scores * scores)
        inside, none = self._count(labels), torch.zeros_like(layer.room)
        share = (self.to_prune * inside + self.ahead // 2) // self.ahead.clamp(min=1)
        forced, gone, forced_later, gone_later = none, none, none, none
        if segments.forced:
            forced, gone = self._count(labels[keep]), self._count(labels[forbid])
            later = layer.labels[:, part.stop :]
            forced_later = self._count(later[layer.keep[:, part.stop :]])
            gone_later = self._count(later[layer.forbid[:, part.stop :]])
        # Weights of later parts that are forced to stay cannot be pruned there, so that more may have to go now.
        least = torch.maximum(self.to_prune - (self.ahead - inside - forced_later), gone)
        share = torch.minimum(share, (self.to_prune - gone_later).clamp(min=0))
        share = torch.minimum(torch.maximum(share, least), inside - forced)
        z = Segments.of(keep, forbid, labels, inside - share).top(scores * scores)
        self.to_prune -= self._count(labels[~z])
        self.ahead -= inside
        return z

    def _count(self, labels: torch.Tensor) -> torch.Tensor:
        """How many of ``labels`` are of each segment, shape (segments,)."""
        import torch

        return torch.bincount(labels.flatten(), minlength=len(self.layer.room))


def operations(size: LayerSize) -> Operations:
    """Operations of the factor, of updating later weights, and of what is done weight by weight."""
    one_pass = in_loops(size, 2 * size.rows * size.inputs**2 + PER_WEIGHT * size.weights)
    return one_pass.and_(Operations(double=size.inputs**3))


SPEC = MethodSpec(
    name="sparsegpt",
    run=run,
    summary="one pass over the inputs of a layer, weights of later inputs making up for what is pruned",
    exact=False,
    objective=Objective.JOINT,
    reference="Frantar & Alistarh, ICML 2023",
    patterns=(Labelled,),
    left_out_because="made for layers and whole networks",
    operations=operations,
)
