"""The segments of a layer's pattern: sums over them, values spread over their weights, and the θ that fills their room.

A cardinality has one segment; the segments of N:M and of row quotas are consecutive weights, equally many in each. Both
are summed along an axis. Labels in any other order are added up one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.solvers.forms.layer_tensors import Layer
from cbs_opt.solvers.forms.segments import length_of_runs

if TYPE_CHECKING:
    import torch


STEPS, FEW = 60, 4
"""Newton steps for θ at the most, and after how many it is checked which segments have room for all weights of positive
slope."""

SHORT = 64
"""Segments up to this length are summed by a product with a vector of ones, since sums along a short axis are slow."""


class Segments:
    """The segments of ``layer``, with the room that its forced weights leave.

    Parameters
    ----------
    layer : Layer
        The layer and its pattern.
    dtype : torch.dtype
        Type of the values that are summed.
    """

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        self._labels = layer.labels.flatten()
        forced = layer.keep.flatten().long()
        self.room = layer.room.index_add(0, self._labels, -forced).to(dtype)
        self.count = len(layer.room)
        self._run = length_of_runs(self._labels, self.count)
        self._ones = self.room.new_ones(self._run)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of ``values`` (rows, d) in each segment, shape (segments,)."""
        if self._run:
            return self._total(values.reshape(self.count, self._run))
        return values.new_zeros(self.count).index_add_(0, self._labels, values.flatten())

    def spread(self, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """``values`` (segments,) at the weights of each segment, in the shape of ``like`` or one broadcast to it."""
        if self.count == 1:
            return values
        if self._run:
            return values[:, None].expand(self.count, self._run).reshape(like.shape)
        return values[self._labels].reshape(like.shape)

    def root(
        self, slope: torch.Tensor, shift: torch.Tensor, theta: torch.Tensor, loose: torch.Tensor, tolerance: float
    ) -> torch.Tensor:
        """θ with Σ clip(θ·slope − shift, 0, 1) = room in every segment, to ``tolerance``·(1 + room); ∞ where ``loose``.

        It is found by Newton's method on the piecewise linear sum, from ``theta`` and within a bracket. Segments that
        are done are no longer computed.

        Parameters
        ----------
        slope, shift : tensor, shape (rows, d)
            slope ≥ 0 and shift > 0.
        theta : tensor, shape (segments,)
            A first guess of θ; ∞ stands for none.
        loose : boolean tensor, shape (segments,)
            Segments known to have room for all weights of positive slope.
        tolerance : float
            How far the sum may be from the room, relative to 1 + room.
        """
        import torch

        if self._run:
            slope, shift = slope.reshape(self.count, self._run), shift.reshape(self.count, self._run)
        result = torch.where(theta.isfinite(), theta, 1.0)
        theta, room, at = result, self.room, torch.arange(self.count, device=theta.device)
        low, high = torch.zeros_like(theta), torch.full_like(theta, torch.inf)
        loose = loose.clone()
        for step in range(STEPS):
            inner = slope * (theta[:, None] if self._run else theta[self._labels].reshape(slope.shape)) - shift
            z = inner.clamp(0.0, 1.0)
            excess = self._total(z) - room
            if step == FEW:
                loose[at] |= self._total((slope > 0).to(slope.dtype)) <= room
            waiting = ~(loose[at] | (excess.abs() <= tolerance * (1.0 + room)))
            left = int(waiting.sum())
            if not left:
                break
            rate = self._total(torch.where(z == inner, slope, 0.0))
            high = torch.where(excess > 0, torch.minimum(high, theta), high)
            low = torch.where(excess > 0, low, torch.maximum(low, theta))
            newton = theta - excess / rate
            middle = torch.where(high.isfinite(), 0.5 * (low + high), 2.0 * theta)
            newton = torch.where((newton > low) & (newton < high), newton, middle)
            theta = torch.where(waiting, newton, theta)
            if self._run and 2 * left < len(theta):
                result[at] = theta
                theta, room, at, low, high = theta[waiting], room[waiting], at[waiting], low[waiting], high[waiting]
                slope, shift = slope[waiting], shift[waiting]
        result = result.clone()
        result[at] = theta
        return torch.where(loose, torch.inf, result)

    def _total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum in each of some segments; where segments are consecutive weights, ``values`` has one row for each."""
        if not self._run:
            return self.sums(values)
        return values.sum(1) if self._run > SHORT else values @ self._ones
