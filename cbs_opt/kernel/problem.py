"""The pruning problem: trained weights, curvature, first-order term and pattern."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cbs_opt.errors import InputError, PatternError
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector, frozen
from cbs_opt.kernel.arrays.validate import as_array
from cbs_opt.kernel.curvature import Curvature, DenseCurvature
from cbs_opt.kernel.curvature.samples import curvature_of_samples
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.words import plain_number


@dataclass(frozen=True, eq=False, repr=False)
class PruningProblem(Displayed):
    """A quadratic model of the loss increase around trained weights, and the masks that are allowed.

        f(w) = offset + gᵀ(w − w̄) + ½ (w − w̄)ᵀ H (w − w̄),   w_i = 0 where z_i = 0,   z ∈ Z

    Parameters
    ----------
    w_bar : array, shape (n,)
        The trained weights w̄.
    curvature : Curvature or array, shape (n, n)
        H ≻ 0; an array becomes a ``DenseCurvature``.
    pattern : Pattern, optional
        The allowed masks Z. It can also be set later, by ``problem.at_sparsity(0.9)``, ``problem.pruning(k)`` or
        ``problem.within(pattern)``, each of which returns a new problem.
    g : array, shape (n,), optional
        The first-order term, which is the gradient of f at w̄; zero if left out.
    offset : float
        f(w̄). It is not zero where w̄ is not the point that the model was fitted at, as in sequential layer curvature.
    name : str
        Shown in tables and messages.

    Raises
    ------
    InputError
        A shape is wrong, an entry is NaN or infinite (the message names the field and the entry), or H is not
        symmetric positive definite.

    Notes
    -----
    Arrays that are contiguous float64 are not copied but held as read-only views, so do not change them afterwards.
    """

    w_bar: Vector
    curvature: Curvature
    pattern: Pattern | None = None
    g: Vector | None = None
    offset: float = 0.0
    name: str = ""

    if TYPE_CHECKING:  # the generated __init__, with all the types that __post_init__ accepts

        def __init__(
            self,
            w_bar: ArrayLike,
            curvature: Curvature | ArrayLike,
            pattern: Pattern | None = None,
            g: ArrayLike | None = None,
            offset: float = 0.0,
            name: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        w_bar = frozen(as_array(self.w_bar, "w", 1))
        curvature = self.curvature if isinstance(self.curvature, Curvature) else DenseCurvature(self.curvature)
        n = len(w_bar)
        if curvature.n != n:
            raise InputError(f"w: has {n} weights, but the curvature is of order {curvature.n}; they must agree")
        if self.g is not None:
            g = frozen(as_array(self.g, "g", 1))
            if len(g) != n:
                raise InputError(f"g: has {len(g)} entries, but there are {n} weights; they must agree")
            object.__setattr__(self, "g", g)
        if not isinstance(self.offset, (int, float, np.integer, np.floating)) or not np.isfinite(self.offset):
            raise InputError(f"offset: is {self.offset}; a finite number is needed")
        if self.pattern is not None and self.pattern.n != n:
            raise PatternError(f"pattern: is for {self.pattern.n} weights, but there are {n}; they must agree")
        _require_representable(w_bar, curvature, self.g)
        object.__setattr__(self, "w_bar", w_bar)
        object.__setattr__(self, "curvature", curvature)
        object.__setattr__(self, "offset", float(self.offset))

    # ---------------------------------------------------------------- other ways to make one

    @classmethod
    def from_gradients(
        cls,
        w_bar: Any,
        gradients: Any,
        *,
        damping: float | None = None,
        dampening_frac: float | None = None,
        pattern: Pattern | None = None,
        g: Any = None,
        name: str = "",
    ) -> PruningProblem:
        """A problem with the empirical Fisher curvature H = GᵀG/m + λI of per-sample gradients.

        Parameters
        ----------
        w_bar : array, shape (n,)
            The trained weights.
        gradients : array, shape (m, n)
            G: each row is the gradient of the loss of one sample.
        damping, dampening_frac : float
            Exactly one of the two: λ itself, or λ as a fraction of the mean diagonal of GᵀG/m.
        pattern, g, name
            As for the class.

        Notes
        -----
        The smaller one is stored: with m < n the factor G/√m, without ever forming H, and otherwise H. Either is
        rounded when it is computed from G. f is evaluated on what is stored; proven bounds allow for the rounding and
        hold for the H that the given G and λ define exactly.
        """
        curvature = curvature_of_samples(_one_a_row(gradients, "G", w_bar), "G", damping, dampening_frac)
        return cls(w_bar, curvature, pattern=pattern, g=g, name=name)

    @classmethod
    def from_activations(
        cls,
        w_bar: Any,
        inputs: Any,
        *,
        damping: float | None = None,
        dampening_frac: float | None = None,
        pattern: Pattern | None = None,
        name: str = "",
    ) -> PruningProblem:
        """A problem for one output row of a layer, with the Gram curvature H = XᵀX/m + λI of the layer's inputs.

        f(w) is then half the mean squared change of the row's output over the samples, plus (λ/2)‖w − w̄‖². As with
        ``from_gradients``, proven bounds hold for the H that the given X and λ define exactly.

        Parameters
        ----------
        w_bar : array, shape (n,)
            The trained weights of the row.
        inputs : array, shape (m, n)
            X: each row is one sample, each column one input of the layer.
        damping, dampening_frac : float
            Exactly one of the two: λ itself, or λ as a fraction of the mean diagonal of XᵀX/m.
        pattern, name
            As for the class.
        """
        curvature = curvature_of_samples(_one_a_row(inputs, "X", w_bar), "X", damping, dampening_frac)
        return cls(w_bar, curvature, pattern=pattern, name=name)

    @classmethod
    def load(cls, path: str | os.PathLike[str], content: str | None = None) -> PruningProblem:
        """Read a block file (see ``cbs_opt.kernel.block_file``); the name defaults to the file's stem.

        Parameters
        ----------
        path : path
            The file, ``.npz``.
        content : str, optional
            The digest that ``cbs_opt.kernel.block_file.content_of`` returned for the file earlier. If the file has
            changed since, an error is raised instead of reading it.

        Raises
        ------
        BlockFileError
            The file cannot be read as a block; the message names the file, the field and the offending entry.
        """
        from cbs_opt.kernel.block_file import about, read_block

        parts = read_block(path, content)
        with about(path):
            return cls(**parts)

    def save(self, path: str | os.PathLike[str], *, curvature: str | os.PathLike[str] | None = None) -> None:
        """Write a block file (see ``cbs_opt.kernel.block_file``); an existing file is replaced whole or not at all.

        The pattern is not written, so that one block can be asked for many: give it again after ``load``.

        Parameters
        ----------
        path : path
            The file, ``.npz``.
        curvature : path, optional
            A file in the same folder, which ``cbs_opt.kernel.block_file.save_curvature`` wrote with the problem's
            curvature. The block then holds the name of this file instead of the curvature.
        """
        from cbs_opt.kernel.block_file import write_block

        write_block(path, self.w_bar, self.curvature, g=self.g, offset=self.offset, name=self.name, shared=curvature)

    def _card(self) -> Card:
        H, rows = self.curvature, self.curvature.rows
        weights = f"{self.n:,} weights" if rows == 1 else f"{rows:,} rows of {self.n // rows:,} weights"
        pattern = "no pattern yet" if self.pattern is None else str(self.pattern)
        facts = {
            "weights": f"{self.w_bar.min():.3g} to {self.w_bar.max():.3g}",
            "curvature": f"{H.kind}, mean diagonal {H.mean_diagonal:.3g}, damping {H.damping:.3g}",
            "pattern": "none yet: use at_sparsity, pruning or within" if self.pattern is None else pattern,
        }
        if self.g is not None:
            facts["first-order term"] = f"largest |g_i| {np.abs(self.g).max():.3g}"
        if self.offset:
            facts["offset"] = plain_number(self.offset)
        name = f"{self.name}: " if self.name else ""
        return Card(f"{name}{weights}, {H.kind} curvature, {pattern}", facts, notes=H.notes)

    # ---------------------------------------------------------------- the pattern

    def within(self, pattern: Pattern) -> PruningProblem:
        """The same model with the pattern Z = ``pattern``, in place of its own; ``intersect`` joins two patterns."""
        return replace(self, pattern=pattern)

    def at_sparsity(self, sparsity: float) -> PruningProblem:
        """The same model with the pattern 'at least ⌈sparsity·n⌉ weights are pruned'."""
        return self.within(Cardinality.from_sparsity(self.n, sparsity))

    def pruning(self, k: int) -> PruningProblem:
        """The same model with the pattern 'at least k weights are pruned'."""
        return self.within(Cardinality(self.n, k))

    @property
    def Z(self) -> Pattern:
        """The pattern.

        Raises
        ------
        PatternError
            When none was set.
        """
        if self.pattern is None:
            raise PatternError(
                f"pattern: none is set for {self.name or 'this problem'}; "
                "use problem.at_sparsity(0.9), problem.pruning(k) or problem.within(pattern)"
            )
        return self.pattern

    # ---------------------------------------------------------------- the model

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.w_bar)

    def linear_term(self) -> Vector:
        """The first-order term g, shape (n,); zeros where the problem was given none."""
        return np.zeros(self.n) if self.g is None else self.g

    def objective(self, w: Vector) -> float:
        """f(w) in float64, for ``w`` of shape (n,). Every reported objective is computed here."""
        d = w - self.w_bar
        value = self.offset + 0.5 * self.curvature.quadratic(d)
        return value if self.g is None else value + float(self.g @ d)

    def round_off(self, w: Vector) -> float:
        """How far rounding may put ``objective(w)`` off, in the units of f, where the entries of w are rounded, too.

        With D = Σ|w_i − w̄_i|√H_ii and W = Σ|w_i|√H_ii this is eps·D² for the evaluation, plus eps·DW + (eps·W)²
        because the entries of w are rounded, and likewise for the first-order term and the offset.
        """
        root = np.sqrt(self.curvature.diagonal())
        d = np.abs(w - self.w_bar)
        D, W = float(d @ root), float(np.abs(w) @ root)
        error = EPS * (D * (D + W) + EPS * W * W + abs(self.offset))
        return error if self.g is None else error + EPS * float((d + np.abs(w)) @ np.abs(self.g))

    def minimizer(self) -> Vector:
        """The unconstrained minimizer H⁻¹b = w̄ − H⁻¹g, shape (n,)."""
        return self.w_bar if self.g is None else self.w_bar - self.curvature.solve(self.g)

    def below(self) -> PruningProblem:
        """The problem with the curvature ``self.curvature.below()``, on which proven bounds are computed.

        Its f is nowhere larger than the f that the user's arrays define, so that its lower bounds hold for that f, too.
        Where nothing was rounded when the curvature was made of those arrays, the problem itself is returned.
        """
        lower = self.curvature.below()
        return self if lower is self.curvature else replace(self, curvature=lower)

    def times(self, scale: float) -> PruningProblem:
        """The problem ``below()``, its curvature dense, with f multiplied by ``scale`` > 0; exact for powers of two."""
        g = None if self.g is None else self.g * scale
        H = DenseCurvature(self.curvature.below().dense() * scale)
        return replace(self, curvature=H, g=g, offset=self.offset * scale)

    def normalized(self) -> tuple[PruningProblem, float, float]:
        """The problem ``below()`` in units where the largest weight and the mean of diag(H) lie in [1, 2).

        External solvers, whose tolerances are absolute, are given this problem. Returned is ``(problem', s, t)`` with
        f = s·f' and w = t·w'; s and t are powers of two, so that no digit is lost.
        """
        low = self.below()
        t = _power_of_two(float(np.abs(low.minimizer()).max()) or float(np.abs(low.w_bar).max()))
        s = _power_of_two(float(low.curvature.diagonal().mean()) * t * t)
        H = DenseCurvature(low.curvature.dense() * (t * t / s))
        g = None if low.g is None else low.g * (t / s)
        scaled = replace(low, w_bar=low.w_bar / t, curvature=H, g=g, offset=low.offset / s)
        return scaled, s, t


def require_problem(value: object) -> None:
    """Raise an error unless ``value`` is a ``PruningProblem``; the message shows how one is loaded from a file."""
    if isinstance(value, PruningProblem):
        return
    what = f"the file name {str(value)!r:.80}" if isinstance(value, (str, os.PathLike)) else f"a {type(value).__name__}"
    raise InputError(
        f"problem: is {what}; a PruningProblem is needed, as PruningProblem.load('block.npz').at_sparsity(0.8)"
    )


LARGEST_LOSS, SMALLEST_LOSS = 1e290, 1e-290
"""The scale of a loss lies between these, so that sums of losses neither overflow nor vanish in float64."""

LARGEST_SIZE, SMALLEST_SIZE = 1e140, 1e-140
"""Between these, the square of a number, and that of its last digit, are held by float64 to all their digits."""


def _one_a_row(samples: Any, field: str, w_bar: Any) -> Matrix:
    """``samples`` as an array (m, n); the error says so where only its transpose would fit the weights."""
    rows, n = as_array(samples, field, 2), len(as_array(w_bar, "w", 1))
    if rows.shape[1] != n == rows.shape[0]:
        raise InputError(
            f"{field}: has shape {rows.shape} for {n} weights; one sample a row is needed, as {field}.T seems to have"
        )
    return rows


def _require_representable(w_bar: Vector, curvature: Curvature, g: Vector | None) -> None:
    """Raise an error where the loss's scale, or squares of w̄, of Hw̄ or of g, would overflow or vanish in float64."""
    diagonal = curvature.diagonal()
    with np.errstate(over="ignore", under="ignore"):
        sizes = {
            "w: the largest |w_i|": float(np.abs(w_bar).max()),
            "curvature: the largest H_ii": float(diagonal.max()),
            "w: the largest |w_i|H_ii": float((np.abs(w_bar) * diagonal).max()),
        }
    for what, size in sizes.items():
        if size > LARGEST_SIZE or 0.0 < size < SMALLEST_SIZE or (size == 0.0 and w_bar.any()):
            raise InputError(
                f"{what} is {size:.3g}, not between {SMALLEST_SIZE:g} and {LARGEST_SIZE:g}; measure weights or "
                "curvature in other units"
            )
    if g is not None and np.abs(g).max() > LARGEST_SIZE:
        raise InputError(f"g: has an entry {np.abs(g).max():.3g}, whose square float64 cannot hold; use other units")
    with np.errstate(over="ignore", under="ignore"):
        largest = float(np.max(np.abs(w_bar) * np.sqrt(curvature.diagonal())))
        scale = largest * largest * len(w_bar)
    if scale > LARGEST_LOSS or (scale < SMALLEST_LOSS and w_bar.any()):
        raise InputError(
            f"w: w_i²H_ii is of the order {scale:.3g}, outside what float64 can add up; measure weights or curvature "
            "in other units"
        )


def _power_of_two(value: float) -> float:
    """The largest power of two that is not above ``value``; 1 for 0."""
    return float(2.0 ** np.floor(np.log2(value))) if value > 0 else 1.0
