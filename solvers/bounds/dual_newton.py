"""Maximizes the dual bound (D) by a proximal method of multipliers with Newton's method inside.

With a relaxed mask z in conv Z the dual is a saddle-point problem,

    max_α min_{z ∈ conv Z} Φ(α, z),    Φ = −½‖α‖² − αᵀA w̄ − Σ z_i q_i²/(2λ_i) + …,    q = λ∘w̄ − Aᵀα − g,

quadratic in α and linear in z. d has kinks where scores s_i = q_i²/(2λ_i) tie. The kinks are smoothed by adding
½Σε_i(z_i − z̄_i)² around the last relaxed mask z̄; repeating this with z̄ ← z converges to the maximum of d itself
(Rockafellar, Augmented Lagrangians and applications of the proximal point algorithm, Mathematics of Operations Research
1, 1976). The smoothed function has the gradient −α − A w̄ + A(z∘q)/λ, with z the maximizer of ``dual_choice``, and the
Hessian

    −(K − C Cᵀ),   K = I + A diag(z_i/λ_i + [i∈F] q_i²/(λ_i²ε_i)) Aᵀ,   F = {i : 0 < z_i < 1},

with one column of C for each full segment, a sum over its weights in F. Every step is one m × m Cholesky factorization,
and K is updated by the columns of A whose z changed. Halving ε makes the outer iteration converge superlinearly
(semismooth Newton and augmented Lagrangians on piecewise quadratic duals: Li, Sun & Toh, SIAM Journal on Optimization
28, 2018). A pattern that is not one of labels with room offers only its linear oracle; for it L-BFGS is run on d
without smoothing, in the metric of K at the magnitude mask.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.solvers.bounds.dual_choice import Choice
from cbs_opt.solvers.bounds.dual_tensors import DualTensors

if TYPE_CHECKING:
    import torch

FIRST_RATIO, LAST_RATIO = 0.3, 1e-7
"""ε as a multiple of the threshold score of each segment: the first, and the least."""

MOST_ROUNDS, MOST_STEPS = 40, 8
"""Outer iterations, and Newton steps within one."""

PATIENCE = 3
"""Outer iterations without progress after which the working precision is exhausted."""

EVALUATIONS = 300
"""Evaluations by L-BFGS at the most, where the pattern has no smoothed oracle."""


@dataclass
class Climb:
    """Where the maximizer stands, in the units of ``DualTensors``.

    Parameters
    ----------
    alpha : tensor, shape (m,)
        The best point so far.
    z : tensor, shape (n,)
        Its relaxed mask.
    value : float
        d(α) without f(w̄), in the working precision.
    upper : float
        An estimate of the largest d of any α (inf: not known).
    scale : float
        The size of the loss that tolerances refer to.
    ratio : float
        ε as a multiple of the thresholds.
    evaluations : int
        Evaluations of the gradient so far.
    """

    alpha: torch.Tensor
    z: torch.Tensor
    value: float
    upper: float
    scale: float
    ratio: float = FIRST_RATIO
    evaluations: int = 0


def climb(
    tensors: DualTensors, pattern: Pattern, tolerance: float, start: Climb | None = None, until: float = np.inf
) -> Climb:
    """Maximize d, from the magnitude mask or from ``start``, where the search in another precision ended.

    The search ends at ``tolerance`` relative to the loss, or at ``until`` on the clock of ``time.perf_counter``.
    """
    labelled = pattern.labelled
    if labelled is None:
        return _in_metric(tensors, pattern)
    return _Newton(tensors, Choice(labelled, tensors.device), tolerance, start).run(until)


class _Newton:
    """The maximization of d for labels with room: the best point, and the matrix K with the column weights in it."""

    def __init__(self, data: DualTensors, choice: Choice, tolerance: float, start: Climb | None) -> None:
        self.data, self.choice, self.tolerance = data, choice, tolerance
        self.image_of_w = data.image(data.w_bar)
        self.w_cost = 0.5 * float((data.lam * data.w_bar) @ data.w_bar) - float(data.g @ data.w_bar)
        self.weights = data.lam * 0.0
        self.K = data.identity()
        self.evaluations = 0
        if start is None:
            center = choice.best(data.w_bar**2)
            self.follow(center / data.lam)
            # The α that maximizes d where the mask is this one.
            alpha = self.solve(data.image(center * (data.w_bar - data.g / data.lam)) - self.image_of_w, None)
            if alpha is None:
                alpha = -self.image_of_w
            self.at = Climb(alpha, center, -np.inf, np.inf, 0.0)
        else:
            self.at = Climb(start.alpha, start.z, -np.inf, np.inf, start.scale, start.ratio)

    def run(self, until: float) -> Climb:
        """Repeat smoothing and Newton's method until the tolerance, the limits or the time ``until`` are reached."""
        at = self.at
        alpha, center, ratio = at.alpha, at.z, at.ratio
        q = self.residual(alpha)
        first = self.choice.thresholds(self.scores(q))
        least, patience = first.max() * 1e-12 + 1e-300, 0
        at.value = self.value(alpha, q)
        gap = np.inf
        for _ in range(MOST_ROUNDS):
            threshold = self.choice.thresholds(self.scores(q)).clamp(min=float(least))
            epsilon = ratio * threshold
            alpha, q, center, smooth, slope, solved = self.ascend(alpha, q, center, epsilon, gap)
            value = self.value(alpha, q)
            at.upper = min(at.upper, smooth + slope)
            if value > at.value:
                at.value, at.alpha, at.z = value, alpha, center
            at.scale = max(abs(at.upper), abs(at.value), 1e-300)
            patience = 0 if at.upper - at.value < 0.8 * gap else patience + 1
            gap = min(gap, at.upper - at.value)
            at.ratio = ratio = max(0.5 * ratio, LAST_RATIO)
            late = time.perf_counter() > until
            if gap <= self.tolerance * at.scale or patience >= PATIENCE or not solved or late:
                break
        at.evaluations = self.evaluations
        return at

    def ascend(
        self, alpha: torch.Tensor, q: torch.Tensor, center: torch.Tensor, epsilon: torch.Tensor, gap: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float, float, bool]:
        """Newton steps on the smoothed function.

        Returns α, q and z at the end, the smoothed value, what a further step promises, and whether K had a factor.
        """
        data = self.data
        z, full, value = self.smoothed(alpha, q, center, epsilon)
        slope = 0.0
        for _ in range(MOST_STEPS):
            gradient = data.image(z * (q / data.lam)) - alpha - self.image_of_w
            self.evaluations += 1
            tied = (z > 0) & (z < 1)
            per_weight = self.choice.whole(epsilon[self.choice.group], 1.0)
            sharing = q**2 / (data.lam**2 * per_weight.clamp(min=1e-300))
            self.follow(z / data.lam + tied.double() * sharing)
            step = self.solve(gradient, self.coupling(q, tied, full, epsilon))
            if step is None:
                return alpha, q, z, value, slope, False
            slope = float(gradient @ step)
            moved = data.back(step)
            length = 1.0
            while True:
                trial, q_trial = alpha + length * step, q - length * moved
                z_trial, full_trial, reached = self.smoothed(trial, q_trial, center, epsilon)
                if reached >= value + 1e-4 * length * slope:
                    break
                length *= 0.5
                if length < 1e-3:
                    return alpha, q, z, value, slope, True
            alpha, q, z, full, value = trial, q_trial, z_trial, full_trial, reached
            if slope <= max(1e-2 * min(gap, value - self.at.value), 1e-2 * self.tolerance * abs(value)):
                break
        return alpha, self.residual(alpha), z, value, slope, True

    def residual(self, alpha: torch.Tensor) -> torch.Tensor:
        """q = λ∘w̄ − Aᵀα − g, shape (n,)."""
        return self.data.lam * self.data.w_bar - self.data.back(alpha) - self.data.g

    def scores(self, q: torch.Tensor) -> torch.Tensor:
        """The scores s = q²/(2λ), shape (n,)."""
        return q**2 / (2.0 * self.data.lam)

    def fixed(self, alpha: torch.Tensor) -> float:
        """The part of d(α) that does not depend on the mask."""
        return self.w_cost - 0.5 * float(alpha @ alpha) - float(alpha @ self.image_of_w)

    def value(self, alpha: torch.Tensor, q: torch.Tensor) -> float:
        """d(α) without f(w̄)."""
        s = self.scores(q)
        return self.fixed(alpha) - float(self.choice.best(s) @ s)

    def smoothed(
        self, alpha: torch.Tensor, q: torch.Tensor, center: torch.Tensor, epsilon: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """The maximizing relaxed mask, which segments it fills, and the smoothed value of d."""
        s = self.scores(q)
        z, full = self.choice.smoothed(s, center, epsilon)
        penalty = (z - center)[self.choice.index] ** 2 @ epsilon[self.choice.group]
        return z, full, self.fixed(alpha) - float(z @ s) + 0.5 * float(penalty)

    def follow(self, weights: torch.Tensor) -> None:
        """Update K to other column weights (n,), by the columns whose weight changed by more than a thousandth."""
        changed = (weights - self.weights).abs() > 1e-3 * weights.maximum(self.weights)
        self.data.add_gram(self.K, weights - self.weights, changed)
        self.weights[changed] = weights[changed]

    def coupling(
        self, q: torch.Tensor, tied: torch.Tensor, full: torch.Tensor, epsilon: torch.Tensor
    ) -> torch.Tensor | None:
        """C (m, full segments with ties), None without ties: in a full segment, what one weight gains another loses."""
        import torch

        index = self.choice.index
        chosen = tied[index] & full[self.choice.group]
        if not bool(chosen.any()):
            return None
        group = self.choice.group[chosen]
        present, place, counts = torch.unique(group, return_inverse=True, return_counts=True)
        inside = index[chosen]
        share = q[inside] / self.data.lam[inside] / (epsilon[present] * counts).sqrt()[place]
        return self.data.segment_sums(share, inside, place, len(present))

    def solve(self, rhs: torch.Tensor, C: torch.Tensor | None) -> torch.Tensor | None:
        """(K − C Cᵀ)⁻¹ rhs by conjugate gradients preconditioned with K; None where K is singular to float64."""
        import torch

        factors = []
        for K_b in self.K:
            factor, info = torch.linalg.cholesky_ex(K_b)
            if int(info) > 0:
                return None
            factors.append(factor)
        rows = self.data.rows_of_blocks()

        def inverse(v: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(v)
            for part, factor in zip(rows, factors, strict=True):
                out[part] = torch.cholesky_solve(v[part, None], factor)[:, 0]
            return out

        def times(v: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
            out = -(C @ (C.T @ v))
            for part, K_b in zip(rows, self.K, strict=True):
                out[part] += K_b @ v[part]
            return out

        x = inverse(rhs)
        if C is None:
            return x
        best = x
        r = rhs - times(x, C)
        p = y = inverse(r)
        size = first = float(r @ y)
        for _ in range(min(C.shape[1] + 2, 30)):
            if size <= 1e-10 * first or size <= 1e-12 * float(rhs @ x):
                break
            image = times(p, C)
            curvature = float(p @ image)
            if curvature <= 0:  # round-off: without the coupling the step is shorter, but ascends
                return best
            x, r = x + (size / curvature) * p, r - (size / curvature) * image
            y = inverse(r)
            size, last = float(r @ y), size
            p = y + (size / last) * p
        return x


def _in_metric(data: DualTensors, pattern: Pattern) -> Climb:
    """L-BFGS on d in the variables Lᵀα, LLᵀ = K at the magnitude mask."""
    import torch
    from scipy.optimize import minimize

    K = data.identity()
    z = tensor(pattern.argmax(data.w_bar.cpu().numpy() ** 2), data.device).double()
    data.add_gram(K, z / data.lam, z > 0)
    factors = [torch.linalg.cholesky(K_b) for K_b in K]
    rows = data.rows_of_blocks()
    image_of_w = data.image(data.w_bar)
    w_cost = 0.5 * float((data.lam * data.w_bar) @ data.w_bar) - float(data.g @ data.w_bar)
    best = Climb(torch.zeros(data.m, dtype=torch.float64, device=data.device), z, -np.inf, np.inf, 1.0)

    def in_blocks(v: torch.Tensor, transposed: bool) -> torch.Tensor:
        out = torch.zeros_like(v)
        for part, L in zip(rows, factors, strict=True):
            matrix = L.T if transposed else L
            out[part] = torch.linalg.solve_triangular(matrix, v[part, None], upper=transposed)[:, 0]
        return out

    def negative(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        alpha = in_blocks(tensor(scaled * unit, data.device), True)
        q = data.lam * data.w_bar - data.back(alpha) - data.g
        s = q**2 / (2.0 * data.lam)
        mask = tensor(pattern.argmax(s.cpu().numpy()), data.device).double()
        value = w_cost - 0.5 * float(alpha @ alpha) - float(alpha @ image_of_w) - float(mask @ s)
        gradient = in_blocks(data.image(mask * (q / data.lam)) - alpha - image_of_w, False)
        best.evaluations += 1
        if value > best.value:
            best.value, best.alpha, best.z = value, alpha, mask
        return -value / unit**2, -gradient.cpu().numpy() / unit

    start = data.image(z * (data.w_bar - data.g / data.lam)) - image_of_w
    scaled = in_blocks(start, False)  # Lᵀ K⁻¹ start
    unit = float(scaled.norm()) or 1.0
    options = {"maxfun": EVALUATIONS, "maxiter": EVALUATIONS, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-12}
    minimize(negative, (scaled / unit).cpu().numpy(), jac=True, method="L-BFGS-B", options=options)
    best.scale = max(abs(best.value), 1e-300)
    best.upper = best.value
    return best
