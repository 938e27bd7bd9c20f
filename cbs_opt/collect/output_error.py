"""How far the outputs of a block in one network are from those in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cbs_opt.collect.patches import as_in

if TYPE_CHECKING:
    import torch


def first_tensor(answer: Any) -> torch.Tensor | None:
    """The tensor that a block returns, or the first of several; None if there is no tensor in that place."""
    import torch

    if isinstance(answer, torch.Tensor):
        return answer
    parts = list(answer.values()) if isinstance(answer, Mapping) else answer
    return first_tensor(parts[0]) if isinstance(parts, (tuple, list)) and parts else None


def detached(answer: Any) -> torch.Tensor | None:
    """A copy in memory of the tensor that a block returns; None if there is none."""
    found = first_tensor(answer)
    return None if found is None else found.detach().to("cpu", copy=True)


def compared(
    answer: Any,
    goal: Any,
    counted: torch.Tensor | None,  # shape: (samples, length)
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """ŷ and y at the positions of all samples that are no padding; None if they are no tensors of the same shape.

    They are at least float32, as squares overflow float16. If there is padding, the first dimension runs over the
    positions of all samples.
    """
    import torch

    y_hat, y = first_tensor(answer), first_tensor(goal)
    if y_hat is None or y is None or y_hat.shape != y.shape:
        return None
    y = y.to(y_hat.device)
    chosen = None if counted is None else as_in(y, counted)
    if chosen is not None:
        y_hat, y = y_hat[chosen], y[chosen]
    dtype = torch.promote_types(y.dtype, torch.float32)
    return y_hat.to(dtype), y.to(dtype)


class OutputError:
    """Σ‖ŷ − y‖²/Σ‖y‖², batch by batch, summed in float64."""

    def __init__(self) -> None:
        self._apart, self._whole = 0.0, 0.0

    def add(self, answer: Any, goal: Any, counted: torch.Tensor | None) -> None:
        """Add the outputs of one batch: ŷ is ``answer`` and y is ``goal``."""
        import torch

        found = compared(answer, goal, counted)
        if found is not None:
            y_hat, y = found
            self._apart += float((y_hat - y).square().sum(dtype=torch.float64))
            self._whole += float(y.square().sum(dtype=torch.float64))

    @property
    def relative(self) -> float | None:
        """Σ‖ŷ − y‖²/Σ‖y‖²; None if nothing was added, or y is zero everywhere."""
        return self._apart / self._whole if self._whole > 0 else None
