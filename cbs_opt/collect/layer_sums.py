"""Adds up the sums of a layer's quadratic model (see ``layer_model``) over the layer's inputs, batch by batch.

g and offset are accumulated from X̂ − X itself, so that no digits are lost if the two networks hardly differ.

**What rounding may do, where bounds are to be proven.** A sum of products of L columns at a time, K times, is off by
at most γ Σ|x_i||x_j| ≤ γ s_i s_j with γ = (L + K)·eps and s_i² = Σx_i² (N. J. Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.1), whatever the order of the sums. So with columns counted as a mean,

    |H_ij − Ĥ_ij| ≤ γ s_i s_j,   |g_ri − ĝ_ri| ≤ γ' p_r s_i,   |offset_r − ôffset_r| ≤ ½ γ' p_r²,

where p_r = Σ_j |w̄_rj| a_j, a_j² is the mean square of entry j of X̂ − X, and γ' = γ + 2·in·eps covers the products with
w̄, too. The first gives H ⪰ Ĥ − γ·in·diag(s²). In the second, Σ_i γ' p_r s_i |d_i| ≤ ½γ'·in·Σ_i s_i² d_i² + ½γ' p_r². So
with Ĥ lowered by in·(γ + γ')·diag(s²), which the curvature does where it says what lies below it, and with ôffset_r
lowered by γ' p_r², which is done here, f is nowhere above the f of the inputs themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import correlation
from cbs_opt.collect.layer_model import LayerModel
from cbs_opt.collect.patches import check_input, patches, responses, without_padding
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.curvature import resolve_damping
from cbs_opt.kernel.curvature.second_moment import CAUTION
from cbs_opt.network.samples import check_finite, of_row
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

MOST_ENTRIES = {"cpu": 2**19}
"""The most entries of unfolded inputs that are multiplied at once, by device: 2 MB in float32 stay in a CPU's cache."""

MOST_ENTRIES_ELSEWHERE = 2**26
"""The same for any other device: 0.5 GB in float64."""

FLOAT32 = (1e-12, 1e15)
"""If the largest input and the largest response lie between these, their squares, and sums of many of them, are within
the range of float32."""


class LayerSums:
    """The sums that a layer's model is made from, in float64, chunk by chunk (see ``LayerModel.precision``).

    Parameters
    ----------
    target : Target
        The layer.
    module : torch.nn.Module
        Its module, with the trained weights.
    siblings : sequence of (target, module)
        Layers with the same inputs, like keys and values beside queries: their sums need no products of their own.
    device : torch.device, optional
        Where the inputs are; left out, where the weights are.
    paired : bool
        Whether the inputs in the dense network are those of the same tokens, in the same order. If they are not, the
        goal is X̂ w̄, so that g and offset are zero.
    proving : bool
        Whether bounds are to be proven on the sums: all products are float64, and the models know what rounding may
        have added to the sums. A bound then holds for the f of the layer's inputs, as the network computed these.
    """

    def __init__(
        self,
        target: Target,
        module: torch.nn.Module,
        siblings: Sequence[tuple[Target, torch.nn.Module]] = (),
        device: torch.device | None = None,
        paired: bool = True,
        proving: bool = False,
    ) -> None:
        import torch

        self.paired = paired
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        self.targets = (target, *(other for other, _ in siblings))
        if siblings and any(one.kind == "conv2d" for one in self.targets):
            raise InputError(f"layer {target.name}: convolutions are not summed together")
        rows = [target.matrix(weight), *(other.matrix(one.weight) for other, one in siblings)]  # type: ignore[arg-type]

        self._device = weight.device if device is None else device

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=self._device)

        self.target, self.module = target, module
        self.matrix = torch.cat([part.detach().double() for part in rows]).contiguous().to(self._device)
        self.precision = str(weight.dtype).removeprefix("torch.")
        # On an accelerator it is float64, as products in float32 may be rounded to ten bits there.
        on_cpu = self._device.type == "cpu"
        single = on_cpu and not proving
        self._dtype = torch.promote_types(weight.dtype, torch.float32) if single else torch.float64
        self._proving, self._longest, self._chunks = proving, 0, 0
        self.gram = zeros(target.groups, target.inputs, target.inputs)
        # The sums of g and offset are products of W(X̂ − X). If there are more outputs than inputs, those of X̂ − X are
        # added up instead and multiplied by W in the end: 3 in² operations a column instead of 4 out·in.
        self._wide = target.kind != "conv2d" and len(self.matrix) > target.inputs
        rows_of_g = target.inputs if self._wide else len(self.matrix)
        self._cross = zeros(rows_of_g, target.inputs)
        self._change = zeros(target.inputs, target.inputs) if self._wide else zeros(len(self.matrix))
        self._apart = zeros(target.groups, target.inputs)  # Σ(x̂ − x)², where bounds are to be proven
        self.columns = 0

    def add(
        self,
        x: torch.Tensor,
        dense: torch.Tensor | None = None,
        *,
        numbers: NDArray[np.int64],
        counted: torch.Tensor | None = None,
    ) -> None:
        """Add one batch of the layer's inputs.

        Parameters
        ----------
        x : tensor
            X̂, the input in the pruned network, batch first.
        dense : tensor, optional
            X, the input of the same samples in the dense network; left out it equals ``x``.
        numbers : int array, shape (samples,)
            The numbers by which errors name the batch's samples.
        counted : boolean tensor, shape (samples, length), optional
            True at the positions that are no padding; left out, no position is padding.
        """
        import torch

        check_input(self.target, x)
        if dense is not None and dense.shape != x.shape:
            self.paired = False
        both = (x, dense) if dense is not None and self.paired else (x,)
        (x, *others), numbers = without_padding(self.target, both, counted, numbers)
        if not len(x):
            return
        dense = others[0] if others else None
        check_finite(x, numbers, f"layer {self.target.name}: its input")
        if dense is not None:
            check_finite(dense, numbers, f"layer {self.target.name}: its input in the dense network")
        dtype = self._dtype if self._within_float32(x, dense) else torch.float64
        plain = x.device.type == "cpu" and correlation.is_plain(self.module) and not self._proving
        if plain and dtype == self._dtype:
            self._add_plain(x, dense)
        else:
            self._add_unfolded(x, dense, dtype)
        sums = (self.gram, self._cross, self._change)
        if not all(bool(part.isfinite().all()) for part in sums):
            largest = x.flatten(1).abs().amax(dim=1)
            worst = int(largest.argmax())
            raise InputError(
                f"layer {self.target.name}: the squares of its inputs overflow float64; they are largest "
                f"for sample {of_row(worst, len(x), numbers)} ({float(largest[worst]):.2g}); look at this "
                "sample and at the network's weights"
            )

    def _within_float32(self, x: torch.Tensor, dense: torch.Tensor | None) -> bool:
        """Whether products of these inputs neither overflow nor vanish in float32."""
        import torch

        largest = max(float(torch.linalg.vector_norm(part, torch.inf)) for part in (x, dense) if part is not None)
        gain = max(1.0, self.target.inputs * float(torch.linalg.vector_norm(self.matrix, torch.inf)))
        return largest == 0 or (largest >= FLOAT32[0] and largest * gain <= FLOAT32[1])

    def _add_unfolded(self, x: torch.Tensor, dense: torch.Tensor | None, dtype: torch.dtype) -> None:
        """Add the products of the inputs' ``patches``, computed in ``dtype``."""
        kernel = self.matrix.to(dtype)
        step = self._step(x)
        for start in range(0, len(x), step):
            part = x[start : start + step].to(dtype)
            columns = patches(self.target, self.module, part)
            self.columns += columns.shape[2]
            self._longest, self._chunks = max(self._longest, columns.shape[2]), self._chunks + 1
            for group, block in enumerate(columns):
                _add_square(self.gram[group], block)
            if dense is None:
                continue
            apart = part - dense[start : start + step].to(dtype)
            if self._wide or self._proving:
                unfolded = patches(self.target, self.module, apart)
            if self._proving:
                self._apart += unfolded.square().sum(dim=2)
            if self._wide:
                (change,) = unfolded
                _add_square(self._change, change)
                self._cross += change @ columns[0].t()
            else:
                if self._proving:  # a product whose rounding is known; a convolution may be computed in any way
                    change = (kernel.reshape(len(unfolded), -1, self.target.inputs) @ unfolded).flatten(0, 1)
                else:
                    change = responses(self.target, self.module, apart, kernel)
                self._change += change.square().sum(dim=1)
                rows = change.reshape(self.target.groups, -1, columns.shape[2])
                self._cross += (rows @ columns.transpose(1, 2)).reshape(self._cross.shape)

    def _add_plain(self, x: torch.Tensor, dense: torch.Tensor | None) -> None:
        """Add the same products for a 3×3 convolution of stride 1, without unfolding (see ``correlation``)."""
        from torch.nn import functional

        self.columns += len(x) * x.shape[2] * x.shape[3]
        self.gram[0] += correlation.gram(x)
        if dense is not None:
            change = functional.conv2d(x - dense, self.target.weight(self.matrix.to(self._dtype)), padding=1)
            self._change += change.double().square().sum(dim=(0, 2, 3))
            self._cross += correlation.cross(x, change)

    def model(self, damping: float | None, dampening_frac: float | None) -> LayerModel:
        """The layer's model; λ is ``damping`` or ``dampening_frac`` of the mean diagonal of the layer's Gram."""
        return self.models(damping, dampening_frac)[0]

    def models(self, damping: float | None, dampening_frac: float | None) -> list[LayerModel]:
        """The models of the layer and of its siblings."""
        import torch

        notes, gram, lam = self._curvature(damping, dampening_frac)
        slack = self._slack(gram) if self._proving else None
        g, offset = self._cross, self._change
        if not self.paired:
            g, offset = torch.zeros_like(self.matrix), torch.zeros_like(self.matrix[:, 0])
        elif self._wide:
            g, offset = self.matrix @ g, ((self.matrix @ offset) * self.matrix).sum(dim=1).clamp(min=0.0)
        above = self._offset_slack()
        found: list[LayerModel] = []
        start = 0
        for target in self.targets:
            rows = slice(start, start + target.outputs)
            start = rows.stop
            found.append(
                LayerModel(
                    target=target,
                    w_bar=self.matrix[rows].cpu().numpy(),
                    gram=gram,
                    g=g[rows].cpu().numpy() / self.columns,
                    offset=offset[rows].cpu().numpy() / (2 * self.columns) - above[rows],
                    damping=lam,
                    columns=self.columns,
                    precision=self.precision,
                    slack=slack,
                    notes=() if found else tuple(notes),
                    sibling=found[0] if found else None,
                )
            )
        return found

    def _curvature(
        self, damping: float | None, dampening_frac: float | None
    ) -> tuple[list[str], NDArray[np.float64], float]:
        """The notes, the Gram matrices, shape (groups, in, in), and λ."""
        name, notes = self.target.name, []
        if not self.columns:
            raise InputError(f"layer {name}: the network never calls it; ignore it")
        gram = self.gram.cpu().numpy() / self.columns
        gram = (gram + gram.transpose(0, 2, 1)) / 2
        diagonal = np.einsum("gii->gi", gram)
        mean = float(diagonal.mean())
        lam = resolve_damping(damping, dampening_frac, mean)
        if mean == 0:
            notes.append(f"layer {name}: sees nothing but zeros on these samples (a dead layer)")
            if lam == 0:
                lam = 1.0
                notes.append(f"layer {name}: λ = 1 in place of a fraction of zero")
        elif lam == 0 and (dead := int((diagonal == 0).sum())):
            raise InputError(
                f"layer {name}: {dead} of its inputs are zero on all samples and the damping is 0; give a damping > 0"
            )
        return notes, gram, lam

    def _rounding(self) -> tuple[float, float]:
        """γ and γ'; twice what they have to be, which covers the division by the number of columns."""
        terms = self._longest + self._chunks + 4
        return terms * EPS, (terms + 2 * self.target.inputs + 4) * EPS

    def _slack(self, gram: NDArray[np.float64]) -> Matrix:
        """in·(γ + γ')·s_i² of each group, shape (groups, in)."""
        return np.asarray(CAUTION * self.target.inputs * sum(self._rounding()) * np.einsum("gii->gi", gram))

    def _offset_slack(self) -> Vector:
        """γ'p_r² of each row, shape (out,); 0 unless bounds are to be proven."""
        if not self._proving or not self.paired:
            return np.zeros(len(self.matrix))
        apart = np.sqrt(self._apart.cpu().numpy() / self.columns)  # shape: (groups, in)
        sizes: Matrix = np.abs(self.matrix.cpu().numpy()).reshape(len(apart), -1, self.target.inputs)
        p = np.einsum("gri,gi->gr", sizes, apart).ravel()
        return np.asarray(CAUTION * self._rounding()[1] * p**2)

    def _step(self, x: torch.Tensor) -> int:
        """How many samples to unfold at once."""
        one = patches(self.target, self.module, x[:1])
        return max(1, MOST_ENTRIES.get(x.device.type, MOST_ENTRIES_ELSEWHERE) // max(1, one.numel()))


def operations_a_column(targets: Sequence[Target], two: bool) -> int:
    """The operations of ``LayerSums`` for one column of inputs, which all ``targets`` have in common.

    Parameters
    ----------
    two : bool
        Whether there is the dense network's input beside that of the pruned one.
    """
    inputs, outputs = targets[0].inputs, sum(target.outputs for target in targets)
    square = targets[0].groups * inputs**2  # one triangle of a product of 2 in² operations
    if not two:
        return square
    wide = targets[0].kind != "conv2d" and outputs > inputs
    return square + (3 * square if wide else 4 * outputs * inputs)


def _add_square(total: torch.Tensor, block: torch.Tensor) -> None:
    """Add PPᵀ of a matrix P (in, columns) to a float64 total."""
    if block.device.type == "cpu":
        P = block.numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # ``LayerSums.add`` reports an overflow
            # NumPy sees one array and its transpose: it computes one triangle, half the work.
            total.numpy()[...] += P @ P.T
    else:
        total += block @ block.t()
