"""The oracle of labels with room, for tensors of a layer: it keeps the best ``room`` weights of every segment.

It does for tensors what ``Labelled.argmax`` does for arrays. Since it is called many times for one pattern, the kind of
the pattern is found out once. A cardinality needs no sorting, only the value of the last weight kept; segments of equal
length that follow each other (rows, N:M) are handled side by side; anything else is sorted. In all cases ties keep the
lower index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

COUNTED = 16
"""Up to this length the weights of a segment are ranked by comparing all pairs."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The pattern of a layer, in the form that its oracle needs.

    Parameters
    ----------
    keep, forbid : boolean tensor, shape (rows, d)
        Weights forced to stay, and forced to zero.
    labels : integer tensor, shape (rows, d)
        The segment of each weight.
    room : integer tensor, shape (segments,)
        The most weights each segment may keep, forced ones included.
    forced : bool
        Whether any weight is forced to stay or to zero.
    length : int
        The length of every segment, where all are equally long and follow each other; else 0.
    """

    keep: torch.Tensor
    forbid: torch.Tensor
    labels: torch.Tensor
    room: torch.Tensor
    forced: bool
    length: int

    @classmethod
    def of(cls, keep: torch.Tensor, forbid: torch.Tensor, labels: torch.Tensor, room: torch.Tensor) -> Segments:
        """The segments of a pattern given by these tensors, with their kind found out."""
        length = length_of_runs(labels.flatten(), len(room))
        return cls(keep, forbid, labels, room, bool((keep | forbid).any()), length)

    def top(self, scores: torch.Tensor) -> torch.Tensor:
        """The mask (rows, d) with the largest Σ z_i s_i, for scores of any sign."""
        import torch

        if not self.length:
            return top_of_segments(scores, self.keep, self.forbid, self.labels, self.room)
        if self.forced:
            scores = torch.where(self.keep, torch.inf, torch.where(self.forbid, -torch.inf, scores))
        side_by_side = scores.reshape(-1, self.length)
        z = _counted(side_by_side, self.room) if self.length <= COUNTED else _above_last(side_by_side, self.room)
        z = z.reshape(scores.shape)
        return z & ~self.forbid if self.forced else z


def length_of_runs(labels: torch.Tensor, count: int) -> int:
    """The length of ``count`` segments where all are equally long and follow each other in ``labels``; else 0."""
    import torch

    run, rest = divmod(len(labels), max(count, 1))
    if rest or not run:
        return 0
    order = torch.arange(count, device=labels.device).repeat_interleave(run)
    return run if torch.equal(labels, order) else 0


def _counted(scores: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """The mask of the best ``room`` (S,) in each row of ``scores`` (S, length), by how many entries go before each."""
    import torch

    columns, most = scores.unbind(1), room.to(torch.int8)
    place = [torch.zeros_like(most) for _ in columns]
    for i in range(len(columns)):
        for j in range(i + 1, len(columns)):
            first = (columns[i] >= columns[j]).view(torch.int8)
            place[j] += first
            place[i] += 1
            place[i] -= first
    return torch.stack([number < most for number in place], dim=1)


def _above_last(scores: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """The mask of the best ``room`` (S,) in each row of ``scores`` (S, length), by the value of the last one kept."""
    import torch

    length = scores.shape[1]
    z = scores >= _last_kept(scores, room)[:, None]
    surplus = torch.nonzero(z.sum(1) != room)[:, 0]  # ties at the last place, or no room at all
    if len(surplus):
        order = (-scores[surplus]).argsort(dim=1, stable=True)
        kept = torch.arange(length, device=scores.device) < room[surplus, None]
        z[surplus] = torch.zeros_like(z[surplus]).scatter(1, order, kept)
    return z


def _last_kept(scores: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """The ``room``-th largest score of each row, (S,); the largest where ``room`` is 0."""
    import numpy as np
    import torch

    place = scores.shape[1] - room.clamp(min=1)
    same = int(place[0])
    if not bool((place == same).all()):
        return scores.sort(dim=1).values.gather(1, place[:, None])[:, 0]
    if scores.is_cuda:
        return scores.kthvalue(same + 1, dim=1).values
    return torch.from_numpy(np.partition(scores.numpy(), same, axis=1)[:, same].copy())


def top_of_segments(
    scores: torch.Tensor, keep: torch.Tensor, forbid: torch.Tensor, labels: torch.Tensor, room: torch.Tensor
) -> torch.Tensor:
    """The mask of the best ``room`` weights of every segment, in any order of labels, by sorting; all of one shape."""
    import torch

    infinity = torch.inf
    ranked = torch.where(keep, -infinity, torch.where(forbid, infinity, -scores)).flatten()
    segment = labels.flatten()
    order = torch.argsort(ranked, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]
    sizes = torch.bincount(segment, minlength=len(room))
    first = sizes.cumsum(0) - sizes
    sorted_segment = segment[order]
    place = torch.arange(len(order), device=order.device) - first[sorted_segment]
    z = torch.zeros_like(ranked, dtype=torch.bool)
    z[order] = place < room[sorted_segment]
    return z.reshape(scores.shape) & ~forbid
