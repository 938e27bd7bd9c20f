"""One stage on the Gauss–Newton model of the cross-entropy, never formed: prune, then re-tune by damped Newton steps.

With J the Jacobian of the logits and S = diag(p) − ppᵀ of their softmax p,

    f(w) = gᵀ(w − w₀) + ½(w − w₀)ᵀ(mean JᵀSJ + λI)(w − w₀),   w₀ the weights the stage begins with,

g the gradient of the mean loss over all samples, the curvature over at most ``CURVATURE_SAMPLES`` of them. The pruned
weights go to zero and the kept ones to the minimizer, by conjugate gradients (two Jacobian products an iteration). The
step is taken only if the loss itself falls below that of pruning without re-tuning. λ follows Marquardt's rule, but
never falls below the damping asked for, which keeps the steps short enough not to overfit the samples: Moré,
'The Levenberg–Marquardt algorithm', 1978; Martens, 'Deep learning via Hessian-free optimization', ICML 2010. Which
weights go is decided by w² (magnitude) or by w² times the diagonal of the model (obd). There is no bound. A stage
prunes in its first step and re-tunes again in a second one, on the model at the weights where that begins; the
objective of the stage is f after the first step, with the λ of that step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.network.inputs import Inputs, Samples
from cbs_opt.network.samples import Drawn, answer_of, batches, class_scores, run
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.stage import Clock, Draw, Stage

if TYPE_CHECKING:
    import torch

    from cbs_opt.pruning.settings import Settings

CURVATURE_SAMPLES = 10_000
"""The most samples that the curvature is averaged over."""
ITERATIONS = 15
"""Iterations of conjugate gradients in a step."""
STEPS = 2
"""Newton steps in a stage: one that prunes, and one that re-tunes again."""
TRIALS = 6
"""How many dampings are tried for one step, each four times the one before."""
PRECONDITIONER = 0.75
"""Power of (diagonal + λ) that preconditions the conjugate gradients (Martens 2010)."""


class GaussNewtonStages:
    """The stages of one run, all on the samples of the first; each begins with the damping that the last ended with."""

    def __init__(self, dense: torch.nn.Module, weights: Weights, settings: Settings, draw: Draw) -> None:
        self._network = _Network(dense, draw(0), weights, settings.seed)
        self._settings = settings
        assert settings.damping is not None or settings.dampening_frac is not None, "settled by Settings"
        self._damping: float | None = settings.damping
        self._least = settings.damping or 0.0

    @staticmethod
    def check(weights: Weights, settings: Settings) -> None:
        """Check nothing: whatever the settings allow can be done."""

    def stage(self, number: int, now: torch.nn.Module, weights: Weights, prune: int, clock: Clock) -> Stage:
        """Prune at least ``prune`` weights and re-tune the others."""
        import torch

        network = self._network
        notes = [f"derivatives in {network.precision}"]
        w = torch.from_numpy(weights.values).double()
        mask = torch.from_numpy(weights.mask)
        objective, used = 0.0, 0.0
        for step in range(STEPS):
            with clock.phase("curvature", "computing the gradient of the loss"):
                loss, g = network.gradient(w)
                diagonal = network.diagonal(w)
            if self._damping is None:
                self._damping = self._least = float(self._settings.dampening_frac or 0.0) * float(diagonal.mean())
                if self._damping == 0:
                    raise InputError(
                        "the curvature is zero on these samples, and so is a share of it; give a damping instead of a "
                        "fraction, or take curvature sequential"
                    )
            if step == 0:
                mask = self._chosen(w, mask, diagonal, prune)
            before = loss if bool((w[~mask] == 0).all()) else network.loss(torch.where(mask, w, 0.0))
            with clock.phase("update", "re-tuning the kept weights"):
                w, change, lam = self._step(w, g, mask, diagonal, before, notes)
            if step == 0:
                objective, used = change, lam
        return Stage(
            weights=weights.with_values(w.numpy(), mask.numpy()),
            objective=objective,
            bound=-np.inf,
            damping=used,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _chosen(self, w: torch.Tensor, alive: torch.Tensor, diagonal: torch.Tensor, prune: int) -> torch.Tensor:
        import torch

        scores = w.square() if self._settings.method == "magnitude" else w.square() * diagonal
        if not self._settings.revive:
            scores = torch.where(alive, scores, -1.0)
        mask = torch.ones_like(alive)
        mask[torch.argsort(scores, stable=True)[:prune]] = False
        return mask

    def _step(
        self,
        w: torch.Tensor,
        g: torch.Tensor,
        mask: torch.Tensor,
        diagonal: torch.Tensor,
        before: float,
        notes: list[str],
    ) -> tuple[torch.Tensor, float, float]:
        """The weights after one step, f there and its λ; the weights are not re-tuned if no damping lowers the loss."""
        import torch

        assert self._damping is not None
        product = self._network.product(w)
        start = torch.where(mask, w, 0.0)
        fixed = start - w
        image = product(fixed)
        # The change of the loss, by the model, if the weights are pruned without re-tuning.
        reference = float(g @ fixed + 0.5 * fixed @ image)
        first = self._damping
        if not bool(mask.any()):
            return start, reference + 0.5 * first * float(fixed @ fixed), first
        for _ in range(TRIALS):
            lam = self._damping
            d, predicted = _minimize(product, g, fixed, image, mask, diagonal, lam)
            gain, after = predicted - reference, self._network.loss(w + d)
            if after < before and gain < 0:
                share = (after - before) / gain
                self._damping = max(self._least, lam * (0.5 if share > 0.7 else 2.0 if share < 0.3 else 1.0))
                return torch.where(mask, w + d, 0.0), predicted + 0.5 * lam * float(d @ d), lam
            self._damping = 4.0 * lam
        self._damping = first
        notes.append(f"a step was not taken: no damping up to {lam:.3g} lowered the loss")
        return start, reference + 0.5 * first * float(fixed @ fixed), first


def _minimize(
    product: Callable[[torch.Tensor], torch.Tensor],
    g: torch.Tensor,
    fixed: torch.Tensor,
    image: torch.Tensor,
    mask: torch.Tensor,
    diagonal: torch.Tensor,
    lam: float,
) -> tuple[torch.Tensor, float]:
    """The step d and gᵀd + ½dᵀ(JᵀSJ)d: d is ``fixed`` where pruned, and about minimizes the damped model where kept.

    ``image`` is JᵀSJ ``fixed``.
    """
    import torch

    r = -(g + image) * mask
    total = image.clone()
    scale = 1.0 / (diagonal + lam) ** PRECONDITIONER
    x = torch.zeros_like(fixed)
    z = scale * r
    p, rz = z.clone(), float(r @ z)
    for _ in range(ITERATIONS):
        if rz <= 0:
            break
        unmasked = product(p)
        curved = (unmasked + lam * p) * mask
        length = rz / float(p @ curved)
        x += length * p
        total += length * unmasked
        r -= length * curved
        z = scale * r
        rz, last = float(r @ z), rz
        p = z + (rz / last) * p
    d = fixed + x
    return d, float(g @ d + 0.5 * d @ total)


class _Network:
    """Loss, gradient and Gauss–Newton products of a network as functions of the vector of its prunable weights."""

    def __init__(self, model: torch.nn.Module, samples: Drawn, weights: Weights, seed: int) -> None:
        import torch

        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._x, self._numbers, self._weights = samples.x, samples.numbers, weights
        self._y = torch.from_numpy(np.asarray(samples.y, dtype=np.int64))
        with torch.no_grad():
            class_scores(run(self._model, self._x.take(slice(1))), self._y.numpy())
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self._x))[:CURVATURE_SAMPLES])
        self._x_curved, self._numbers_curved = self._x.take(chosen), self._numbers[chosen]
        self._generator = torch.Generator().manual_seed(seed)
        self._state = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}

    @property
    def precision(self) -> str:
        """The data type in which the network computes, such as 'float32'."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    def loss(self, w: torch.Tensor) -> float:
        """Mean cross-entropy over all samples."""
        import torch

        total = 0.0
        with torch.no_grad():
            for part in self._batches(self._x):
                logits = self._logits(self._split(w), self._inputs(self._x, part))
                total += float(torch.nn.functional.cross_entropy(logits.double(), self._labels(part), reduction="sum"))
        return total / len(self._x)

    def gradient(self, w: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Mean cross-entropy over all samples and its gradient, shape (n,)."""
        import torch

        total, g = 0.0, torch.zeros_like(w)
        for part in self._batches(self._x):
            loss, found = self._gradient(w, part)
            g += self._checked(found, lambda one: self._gradient(w, one)[1], part, self._numbers, "gradient")
            total += loss
        return total / len(self._x), g / len(self._x)

    def _gradient(self, w: torch.Tensor, part: slice) -> tuple[float, dict[str, torch.Tensor]]:
        """The sum of the cross-entropy over the samples of ``part``, and its gradient in each tensor."""
        import torch

        tensors = {name: t.requires_grad_() for name, t in self._split(w).items()}
        logits = self._logits(tensors, self._inputs(self._x, part))
        loss = torch.nn.functional.cross_entropy(logits, self._labels(part), reduction="sum")
        found = torch.autograd.grad(loss, list(tensors.values()))
        return float(loss.detach()), dict(zip(tensors, found, strict=True))

    def diagonal(self, w: torch.Tensor) -> torch.Tensor:
        """An estimate of the model's diagonal, shape (n,): squared gradients at labels drawn from the softmax.

        The gradients of a batch are added up with random signs (Hutchinson), so that a batch takes one backward pass.
        """
        import torch

        total = torch.zeros_like(w)
        count = 0
        for part in self._batches(self._x_curved, 100):
            tensors = {name: t.requires_grad_() for name, t in self._split(w).items()}
            logits = self._logits(tensors, self._inputs(self._x_curved, part))
            p = logits.detach().softmax(dim=1)
            # Drawn on the CPU, by one generator, whatever the network's device.
            labels = torch.multinomial(p.cpu(), 1, generator=self._generator)[:, 0].to(p.device)
            signs = torch.randint(0, 2, tuple(labels.shape), generator=self._generator).to(logits) * 2 - 1
            losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            found = torch.autograd.grad((signs * losses).sum(), list(tensors.values()))
            total += self._join(dict(zip(tensors, found, strict=True))).square()
            count += len(labels)
        return total / count

    def product(self, w: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """u ↦ mean JᵀSJ u over the curvature samples, at the weights ``w``."""
        import torch
        from torch.func import jvp, vjp

        tensors = self._split(w)

        def one(part: slice, direction: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            x = self._inputs(self._x_curved, part)
            forward = jvp(lambda t: self._logits(t, x), (tensors,), (direction,))
            p, image = forward[0].softmax(dim=1), forward[1]
            weighted = p * (image - (p * image).sum(dim=1, keepdim=True))
            found: dict[str, torch.Tensor] = vjp(lambda t: self._logits(t, x), tensors)[1](weighted)[0]
            return found

        def times(u: torch.Tensor) -> torch.Tensor:
            total = torch.zeros_like(u)
            direction = self._split(u)
            for part in self._batches(self._x_curved):
                total += self._checked(
                    one(part, direction), lambda part: one(part, direction), part, self._numbers_curved, "curvature"
                )
            return total / len(self._x_curved)

        return times

    def _checked(
        self,
        found: dict[str, torch.Tensor],
        again: Callable[[slice], dict[str, torch.Tensor]],
        part: slice,
        numbers: NDArray[np.int64],
        what: str,
    ) -> torch.Tensor:
        """The derivatives ``found`` for the samples of ``part`` as one vector, checked to be finite.

        Raises
        ------
        InputError
            They are not finite (names the sample and the tensor, found by computing each sample ``again``).
        """
        joined = self._join(found)
        if bool(joined.isfinite().all()):
            return joined
        for place in range(part.start, part.stop):
            for name, tensor in again(slice(place, place + 1)).items():
                if not bool(tensor.isfinite().all()):
                    raise InputError(
                        f"the {what} of sample {numbers[place]} with respect to {name} is not finite; "
                        "look at this sample and at the network's weights"
                    )
        raise InputError(
            f"the {what} of the loss is not finite, though that of each sample is; look at the largest of "
            "the samples and at the network's weights"
        )

    def _logits(self, tensors: dict[str, torch.Tensor], x: Inputs) -> torch.Tensor:
        logits: torch.Tensor = answer_of(x.call(self._model, {**self._state, **tensors}))
        return logits

    def _inputs(self, x: Samples, part: slice) -> Inputs:
        return x.take(part).inputs(self._model)

    def _batches(self, x: Samples, size: int | None = None) -> Iterator[slice]:
        return batches(self._model, x, size)

    def _labels(self, part: slice) -> torch.Tensor:
        return self._y[part].to(next(self._model.parameters()).device)

    def _split(self, w: torch.Tensor) -> dict[str, torch.Tensor]:
        """The vector as the network's tensors."""
        like = next(self._model.parameters())
        return {
            target.tensor: target.weight(w[part].reshape(target.outputs, target.inputs)).to(like)
            for target, part in self._weights.parts()
        }

    def _join(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """The network's tensors as one vector, in float64 on the CPU: undoes ``_split``."""
        import torch

        parts = [target.matrix(tensors[target.tensor]).reshape(-1) for target in self._weights.targets]
        return torch.cat(parts).double().cpu()
