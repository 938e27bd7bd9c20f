"""The quadratic model of one layer: how much its outputs change, in the mean over samples and positions.

For output row r of a layer with weight matrix W̄ (out, in), inputs X̂ (columns x̂, see ``patches``) in the network
pruned so far and X in the dense one,

    f_r(w) = 1/(2·columns) ‖X̂ᵀw − Xᵀw̄_r‖² + λ/2 ‖w − w̄_r‖²
           = offset_r + g_rᵀ(w − w̄_r) + ½ (w − w̄_r)ᵀ H (w − w̄_r),

    H = X̂X̂ᵀ/columns + λI,   g_r = X̂(X̂ − X)ᵀw̄_r/columns,   offset_r = ‖(X̂ − X)ᵀw̄_r‖²/(2·columns).

With X̂ = X (the plain layer Gram) g = 0 and offset = 0. All rows of a group share H. g and offset are accumulated from
X̂ − X itself, so that no digits are lost where the two networks hardly differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import correlation
from cbs_opt.collect.patches import check_input, patches, responses, without_padding
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature import DenseCurvature, RowsCurvature, resolve_damping
from cbs_opt.kernel.curvature.damping import dominance
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.samples import check_finite, of_row
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

MOST_ENTRIES = {"cpu": 2**19}
"""Most entries of unfolded inputs multiplied at once, by device: 2 MB in float32 stay in a processor's cache."""

MOST_ENTRIES_ELSEWHERE = 2**26
"""0.5 GB in float64."""

FLOAT32 = (1e-12, 1e15)
"""Between these, float32 holds the squares of inputs and responses, and the sum of many of them."""


@dataclass(frozen=True, eq=False)
class LayerModel:
    """The quadratic models of all rows of one layer.

    Parameters
    ----------
    target : Target
        Which layer.
    w_bar : array, shape (out, in)
        The trained weights as a matrix.
    gram : array, shape (groups, in, in)
        X̂X̂ᵀ/columns of each group, without damping.
    g : array, shape (out, in)
        First-order terms; zero for the plain layer Gram.
    offset : array, shape (out,)
        f_r(w̄_r).
    damping : float
        λ, the same for all rows.
    columns : int
        Samples times positions that the mean was taken over.
    precision : str
        What the network computed in: 'float32' or 'float64'. On a CPU the products of its inputs are computed in it
        (at least in float32) and a few thousand of them added up; everything further is float64.
    notes : tuple of str
        What was altered or looks wrong.
    sibling : LayerModel, optional
        The model of a layer with the same inputs: its curvature is this one's, and formed once.
    """

    target: Target
    w_bar: Matrix
    gram: NDArray[np.float64]
    g: Matrix
    offset: Vector
    damping: float
    columns: int
    precision: str
    notes: tuple[str, ...] = ()
    sibling: LayerModel | None = None

    @property
    def name(self) -> str:
        """The layer's module name."""
        return self.target.name

    @property
    def dominance(self) -> float:
        """λ over the mean diagonal of the Gram matrices; inf where they are zero."""
        return dominance(self.damping, float(np.einsum("gii->gi", self.gram).mean()))

    @property
    def H(self) -> NDArray[np.float64]:
        """gram + λI, shape (groups, in, in); a new array each time."""
        return self.gram + self.damping * np.eye(self.target.inputs)

    @property
    def B(self) -> Matrix:
        """b_r = H w̄_r − g_r, shape (out, in)."""
        product = np.concatenate([w @ H for w, H in zip(self._by_group(self.w_bar), self.gram, strict=True)])
        return product + self.damping * self.w_bar - self.g

    @property
    def c(self) -> Vector:
        """c_r with f_r(w) = c_r − b_rᵀw + ½wᵀHw, shape (out,)."""
        # f(w̄) = offset = c − bᵀw̄ + ½w̄ᵀHw̄ and b = Hw̄ − g give c = offset + ½(b − g)ᵀw̄.
        return self.offset + 0.5 * np.einsum("ri,ri->r", self.B - self.g, self.w_bar)

    def losses(self, w: Matrix) -> Vector:
        """f_r(w_r) of each row, shape (out,), for weights ``w`` of shape (out, in)."""
        d = w - self.w_bar
        image = np.concatenate([part @ H for part, H in zip(self._by_group(d), self.gram, strict=True)])
        return self.offset + np.einsum("ri,ri->r", self.g + 0.5 * (image + self.damping * d), d)

    @cached_property
    def curvatures(self) -> tuple[DenseCurvature, ...]:
        """H of each group, one object shared by all rows of the group, and by the layers with the same inputs."""
        if self.sibling is not None:
            return self.sibling.curvatures
        return tuple(DenseCurvature(H, self.damping) for H in self.gram)

    def problem(self, row: int) -> PruningProblem:
        """The pruning problem of one output row, without a pattern."""
        g = self.g[row] if self.g[row].any() else None
        H = self.curvatures[self.target.group(row)]
        name = f"{self.target.tensor} row {row}"
        return PruningProblem(self.w_bar[row], H, g=g, offset=float(self.offset[row]), name=name)

    def _by_group(self, matrix: Matrix) -> list[Matrix]:
        return np.split(matrix, self.target.groups)


class LayerSums:
    """What a layer's model is made of, added up in float64, chunk by chunk (see ``LayerModel.precision``).

    Parameters
    ----------
    module : torch.nn.Module
        The layer with its trained weights.
    siblings : sequence of (target, module)
        Layers with the same inputs, like keys and values beside queries: their sums come of the same products.
    device : torch.device, optional
        Where their inputs are; left out, where the weights are.
    paired : bool
        The inputs in the dense network are those of the same tokens, in the same order; where they are not, the goal is
        X̂ w̄, so that g and offset are zero.
    """

    def __init__(
        self,
        target: Target,
        module: torch.nn.Module,
        siblings: Sequence[tuple[Target, torch.nn.Module]] = (),
        device: torch.device | None = None,
        paired: bool = True,
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
        # On an accelerator float64: products in float32 may be rounded to ten bits there.
        on_cpu = self._device.type == "cpu"
        self._dtype = torch.promote_types(weight.dtype, torch.float32) if on_cpu else torch.float64
        self.gram = zeros(target.groups, target.inputs, target.inputs)
        # W(X̂ − X) and its products, or, where there are more outputs than inputs, those of X̂ − X, to be multiplied by W
        # in the end: 3 in² operations a column in place of 4 out·in.
        self._wide = target.kind != "conv2d" and len(self.matrix) > target.inputs
        rows_of_g = target.inputs if self._wide else len(self.matrix)
        self._cross = zeros(rows_of_g, target.inputs)
        self._change = zeros(target.inputs, target.inputs) if self._wide else zeros(len(self.matrix))
        self.columns = 0

    def add(
        self,
        x: torch.Tensor,
        dense: torch.Tensor | None = None,
        *,
        numbers: NDArray[np.int64],
        counted: torch.Tensor | None = None,
    ) -> None:
        """One batch of the layer's inputs.

        Parameters
        ----------
        x : tensor
            X̂, the input in the pruned network, batch first.
        dense : tensor, optional
            X, the input of the same samples in the dense network; left out it equals ``x``.
        numbers : int array, shape (samples,)
            What errors call the batch's samples.
        counted : boolean tensor, shape (samples, length), optional
            Which positions of the samples are no padding; all, if left out.
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
        if x.device.type == "cpu" and correlation.is_plain(self.module) and dtype == self._dtype:
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
            for group, block in enumerate(columns):
                _add_square(self.gram[group], block)
            if dense is None:
                continue
            apart = part - dense[start : start + step].to(dtype)
            if self._wide:
                (change,) = patches(self.target, self.module, apart)
                _add_square(self._change, change)
                self._cross += change @ columns[0].t()
            else:
                change = responses(self.target, self.module, apart, kernel)
                self._change += change.square().sum(dim=1)
                rows = change.reshape(self.target.groups, -1, columns.shape[2])
                self._cross += (rows @ columns.transpose(1, 2)).reshape(self._cross.shape)

    def _add_plain(self, x: torch.Tensor, dense: torch.Tensor | None) -> None:
        """The same for a 3×3 convolution of stride 1, without unfolding (see ``correlation``)."""
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
        g, offset = self._cross, self._change
        if not self.paired:
            g, offset = torch.zeros_like(self.matrix), torch.zeros_like(self.matrix[:, 0])
        elif self._wide:
            g, offset = self.matrix @ g, ((self.matrix @ offset) * self.matrix).sum(dim=1).clamp(min=0.0)
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
                    offset=offset[rows].cpu().numpy() / (2 * self.columns),
                    damping=lam,
                    columns=self.columns,
                    precision=self.precision,
                    notes=() if found else tuple(notes),
                    sibling=found[0] if found else None,
                )
            )
        return found

    def _curvature(
        self, damping: float | None, dampening_frac: float | None
    ) -> tuple[list[str], NDArray[np.float64], float]:
        """Notes, the Gram matrices and λ."""
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

    def _step(self, x: torch.Tensor) -> int:
        """How many samples to unfold at once."""
        one = patches(self.target, self.module, x[:1])
        return max(1, MOST_ENTRIES.get(x.device.type, MOST_ENTRIES_ELSEWHERE) // max(1, one.numel()))


def operations_a_column(targets: Sequence[Target], two: bool) -> int:
    """What ``LayerSums`` adds and multiplies for one input of layers that have it in common.

    Parameters
    ----------
    two : bool
        The dense network's input stands beside that of the pruned one.
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
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is seen, and said, by whoever adds a batch
            # NumPy sees one array and its transpose: it computes one triangle, half the work.
            total.numpy()[...] += P @ P.T
    else:
        total += block @ block.t()


def groups(target: Target) -> Iterator[tuple[int, slice]]:
    """Each group of the layer and its rows; a single one but for grouped convolutions."""
    size = target.outputs // target.groups
    for group in range(target.groups):
        yield group, slice(group * size, (group + 1) * size)


def group_problem(layer: LayerModel, group: int, rows: slice, pattern: Pattern) -> PruningProblem:
    """The rows of one group together as one problem, row by row, f summed over the rows.

    Parameters
    ----------
    layer : LayerModel
        As ``layer_grams`` returns it.
    group : int
        Of a convolution in groups; 0 of any other layer.
    rows : slice
        Outputs of the group.
    pattern : Pattern
        Of rows · in weights.
    """
    w_bar, g = layer.w_bar[rows], layer.g[rows]
    name = layer.target.tensor if layer.target.groups == 1 else f"{layer.target.tensor} group {group}"
    return PruningProblem(
        w_bar.ravel(),
        RowsCurvature(layer.curvatures[group], len(w_bar)),
        g=g.ravel() if np.any(g) else None,
        offset=float(layer.offset[rows].sum()),
        pattern=pattern,
        name=name,
    )
