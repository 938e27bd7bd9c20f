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
    """A quadratic model of the loss increase around trained weights, and which masks are allowed.

        f(w) = offset + gᵀ(w − w̄) + ½ (w − w̄)ᵀ H (w − w̄),   w_i = 0 where z_i = 0,   z ∈ Z

    Parameters
    ----------
    w_bar : array, shape (n,)
        The trained weights w̄.
    curvature : Curvature or array, shape (n, n)
        H ≻ 0; an array becomes a ``DenseCurvature``.
    pattern : Pattern, optional
        Z. Set it here or later: ``problem.at_sparsity(0.9)``, ``problem.pruning(k)``, ``problem.within(pattern)``.
    g : array, shape (n,), optional
        First-order term; left out it is zero.
    offset : float
        f(w̄), not zero when w̄ is not the point the model was fitted at (sequential layer curvature).
    name : str
        For tables and messages.

    Raises
    ------
    InputError
        Wrong shapes, NaN or infinity (names the field and the entry), H not symmetric positive definite.

    Notes
    -----
    Arrays are taken without a copy where they are contiguous float64 and held as read-only views: do
    not change them afterwards.
    """

    w_bar: Vector
    curvature: Curvature
    pattern: Pattern | None = None
    g: Vector | None = None
    offset: float = 0.0
    name: str = ""

    if TYPE_CHECKING:  # the generated one, with all that it takes

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
        """Empirical Fisher curvature H = GᵀG/m + λI.

        Parameters
        ----------
        w_bar : array, shape (n,)
            The trained weights.
        gradients : array, shape (m, n)
            G, one per-sample gradient a row.
        damping, dampening_frac : float
            Exactly one: λ itself, or λ as a fraction of the mean diagonal of GᵀG/m.
        pattern, g, name
            As of the class.

        Notes
        -----
        With fewer samples than weights the factor G/√m is kept and H is never formed; else H, which
        is then the smaller of the two. f is evaluated on what is kept; its rounding is in every proven bound, which
        holds for the H of G and λ as they are given.
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
        """Layer Gram curvature H = XᵀX/m + λI of one output row, from the layer's inputs.

        f is then half the mean squared change of the row's output over the samples, plus damping. As with
        ``from_gradients`` proven bounds hold for the H of X and λ as they are given.

        Parameters
        ----------
        w_bar : array, shape (n,)
            The trained weights of the row.
        inputs : array, shape (m, n)
            X, one sample a row, one input of the layer a column.
        damping, dampening_frac : float
            Exactly one: λ itself, or λ as a fraction of the mean diagonal of XᵀX/m.
        pattern, name
            As of the class.
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
            What ``content_of`` said of the file: if it has changed, it is not read.

        Raises
        ------
        BlockFileError
            Naming the file, the field and the offending entry.
        """
        from cbs_opt.kernel.block_file import about, read_block

        parts = read_block(path, content)
        with about(path):
            return cls(**parts)

    def save(self, path: str | os.PathLike[str], *, curvature: str | os.PathLike[str] | None = None) -> None:
        """Write a block file (see ``cbs_opt.kernel.block_file``); an existing file is replaced whole or not at all.

        Parameters
        ----------
        path : path
            The file, ``.npz``.
        curvature : path, optional
            A file in the same folder that ``save_curvature`` wrote with the problem's curvature, to be named in the
            block instead of storing the curvature in it.
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
        """The same model with the pattern Z = ``pattern``."""
        return replace(self, pattern=pattern)

    def at_sparsity(self, sparsity: float) -> PruningProblem:
        """The same model, at least ⌈sparsity·n⌉ weights pruned."""
        return self.within(Cardinality.from_sparsity(self.n, sparsity))

    def pruning(self, k: int) -> PruningProblem:
        """The same model, at least k weights pruned."""
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
        """g, shape (n,), zeros where the problem has none."""
        return np.zeros(self.n) if self.g is None else self.g

    def objective(self, w: Vector) -> float:
        """f(w) in float64, for ``w`` of shape (n,). Every reported objective is computed here."""
        d = w - self.w_bar
        value = self.offset + 0.5 * self.curvature.quadratic(d)
        return value if self.g is None else value + float(self.g @ d)

    def round_off(self, w: Vector) -> float:
        """What float64 may get wrong in ``objective(w)``, for the w that is meant by its rounded entries.

        With D = Σ|w_i − w̄_i|√H_ii and W = Σ|w_i|√H_ii: eps·D² of the evaluation, and eps·DW + (eps·W)² because w
        itself is rounded; likewise of the first-order term and the offset.
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
        """The problem with the curvature ``below`` its own: f is nowhere larger, so its bounds are the problem's too.

        It is the problem itself where no array of the user's was rounded when the curvature was made of them.
        """
        lower = self.curvature.below()
        return self if lower is self.curvature else replace(self, curvature=lower)

    def times(self, scale: float) -> PruningProblem:
        """``below`` with f multiplied by ``scale`` > 0, dense; exact where ``scale`` is a power of two."""
        g = None if self.g is None else self.g * scale
        H = DenseCurvature(self.curvature.below().dense() * scale)
        return replace(self, curvature=H, g=g, offset=self.offset * scale)

    def normalized(self) -> tuple[PruningProblem, float, float]:
        """``below`` in units where the largest weight and the mean of diag(H) lie in [1, 2).

        Both units are powers of two, so no digit is lost: f = s·f', w = t·w' for the returned
        ``(problem', s, t)``. External solvers with absolute tolerances are run on it.
        """
        low = self.below()
        t = _power_of_two(float(np.abs(low.minimizer()).max()) or float(np.abs(low.w_bar).max()))
        s = _power_of_two(float(low.curvature.diagonal().mean()) * t * t)
        H = DenseCurvature(low.curvature.dense() * (t * t / s))
        g = None if low.g is None else low.g * (t / s)
        scaled = replace(low, w_bar=low.w_bar / t, curvature=H, g=g, offset=low.offset / s)
        return scaled, s, t


def require_problem(value: object) -> None:
    """Raise unless ``value`` is a ``PruningProblem``, saying how one is made of a file."""
    if isinstance(value, PruningProblem):
        return
    what = f"the file name {str(value)!r:.80}" if isinstance(value, (str, os.PathLike)) else f"a {type(value).__name__}"
    raise InputError(
        f"problem: is {what}; a PruningProblem is needed, as PruningProblem.load('block.npz').at_sparsity(0.8)"
    )


LARGEST_LOSS, SMALLEST_LOSS = 1e290, 1e-290


LARGEST_SIZE, SMALLEST_SIZE = 1e140, 1e-140
"""Their squares, and those of their last digits, are numbers that float64 holds to all digits."""


def _one_a_row(samples: Any, field: str, w_bar: Any) -> Matrix:
    """``samples`` as an array (m, n); where only its transpose fits the weights, that is said."""
    rows, n = as_array(samples, field, 2), len(as_array(w_bar, "w", 1))
    if rows.shape[1] != n == rows.shape[0]:
        raise InputError(
            f"{field}: has shape {rows.shape} for {n} weights; one sample a row is needed, as {field}.T seems to have"
        )
    return rows


def _require_representable(w_bar: Vector, curvature: Curvature, g: Vector | None) -> None:
    """Squares must neither overflow nor vanish in float64: of the loss's scale, of w̄, and of gradients Hw̄ and g."""
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
                f"{what} is {size:.3g}, whose square float64 cannot hold; measure weights or curvature in other units"
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
    """The power of two next below ``value`` (1 for 0)."""
    return float(2.0 ** np.floor(np.log2(value))) if value > 0 else 1.0
