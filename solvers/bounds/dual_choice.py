"""The smoothed oracle of a pattern of labels with room: where scores tie, room is shared out among the tied weights.

Weights of one label are a segment. For scores s_i ≥ 0, a relaxed mask z̄ in conv Z, and an ε > 0 for each segment,
written ε_i for its weights, the maximizer of

    Σ z_i s_i − ½ Σ ε_i (z_i − z̄_i)²    over    conv Z = {0 ≤ z ≤ 1, Σ_segment z_i ≤ room}

is z_i = clip(z̄_i + s_i/ε_i − τ, 0, 1) with one threshold τ ≥ 0 for each segment. As the sum of the z_i falls with τ,
it is found by bisection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.patterns import Labelled

if TYPE_CHECKING:
    import torch

HALVINGS = 60
"""Steps of the bisection, enough for the precision of float64."""


class Choice:
    """A pattern of labels with room, on a device. Weights of one label are a segment; a cardinality has one segment."""

    def __init__(self, pattern: Labelled, device: torch.device) -> None:
        free = pattern.free
        self.keep = tensor(pattern.keep, device)
        self.free = tensor(free, device)
        self.all_free = bool(free.all())
        self.index = tensor(np.flatnonzero(free), device)
        self.groups = len(pattern.room)
        self.group = tensor(pattern.labels[free], device)
        self.size = tensor(pattern.count(free), device)
        self.room = tensor(pattern.room_of_free, device)

    def whole(self, of_free: torch.Tensor, kept: float = 1.0) -> torch.Tensor:
        """A vector (n,) of the entries ``of_free`` on free weights, ``kept`` on those forced to stay, 0 elsewhere."""
        if self.all_free:
            return of_free
        out = self.keep.double() * kept
        out[self.index] = of_free
        return out

    def best(self, scores: torch.Tensor) -> torch.Tensor:
        """The mask (n,), as float64, with the largest Σ z_i s_i."""
        s = scores[self.index]
        z = s.new_zeros(len(s))
        z[self._ranked(s)] = 1.0
        return self.whole(z)

    def thresholds(self, scores: torch.Tensor) -> torch.Tensor:
        """The least score kept by the best mask in each segment, (groups,); the largest score where it keeps none."""
        import torch

        s = scores[self.index]
        top = self._ranked(s)
        lowest = torch.full((self.groups,), torch.inf, dtype=s.dtype, device=s.device)
        lowest.scatter_reduce_(0, self.group[top], s[top], "amin")
        highest = s.new_zeros(self.groups).scatter_reduce_(0, self.group, s, "amax")
        return torch.where(lowest.isfinite(), lowest, highest)

    def smoothed(
        self, scores: torch.Tensor, center: torch.Tensor, epsilon: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The maximizer z (n,) for z̄ = ``center`` and ε = ``epsilon``, and which segments are full, (groups,)."""
        v = center[self.index] + scores[self.index] / epsilon[self.group]
        z, full = self._shared(v) if self.groups == 1 else self._shared_by_group(v)
        return self.whole(z), full

    def _ranked(self, s: torch.Tensor) -> torch.Tensor:
        """The free weights that the best mask keeps, by their places among the free weights."""
        import torch

        if self.groups == 1:
            return torch.topk(s, int(self.room[0]), sorted=False).indices
        order = torch.argsort(s, descending=True, stable=True)
        order = order[torch.argsort(self.group[order], stable=True)]
        group = self.group[order]
        place = torch.arange(len(s), device=s.device) - (self.size.cumsum(0) - self.size)[group]
        return order[place < self.room[group]]

    def _shared(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``smoothed`` for one segment, whose threshold lies at most 1 below the room-th largest entry of ``v``."""
        room = int(self.room[0])
        z = v.clamp(0.0, 1.0)
        full = self.room > 0
        if room == 0:
            return z * 0.0, full
        if float(z.sum()) <= room:
            return z, ~full
        high = float(v.kthvalue(len(v) - room + 1).values)
        low = max(high - 1.0, 0.0)
        play = v[(v > low) & (v < high + 1.0)]
        sure = float((v >= high + 1.0).sum())
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            if sure + float((play - middle).clamp(0.0, 1.0).sum()) > room:
                low = middle
            else:
                high = middle
        return (v - high).clamp(0.0, 1.0), full

    def _shared_by_group(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``smoothed`` for many segments, their bisections side by side."""
        import torch

        room = self.room.double()

        def total(tau: torch.Tensor) -> torch.Tensor:
            return v.new_zeros(self.groups).index_add_(0, self.group, (v - tau[self.group]).clamp(0.0, 1.0))

        low = v.new_zeros(self.groups)
        full = total(low) > room
        high = v.new_zeros(self.groups).scatter_reduce_(0, self.group, v, "amax")
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            above = total(middle) > room
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        tau = torch.where(full, high, torch.zeros_like(high))
        return (v - tau[self.group]).clamp(0.0, 1.0), full
