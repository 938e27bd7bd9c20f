"""The accuracy of a network with all blocks of a study pruned and put back, as ``assemble`` does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.method import MethodSpec
from cbs_opt.study.result import Accuracy
from cbs_opt.study.subject import Subject


@dataclass(frozen=True, eq=False)
class Placed:
    """The answers to one block.

    Parameters
    ----------
    tensor : str
        The layer that the block belongs to, by the name of its weight.
    first : int
        Where the block begins in the layer's matrix (out, in), row by row.
    found : mapping of method name to (mask, weights)
        Each method's mask and weights, both of shape (n,).
    """

    tensor: str
    first: int
    found: Mapping[str, tuple[Mask, Vector]]


def dense_accuracy(subject: Subject) -> float | None:
    """The test accuracy of the network as it was trained; None without a network or without labels."""
    from cbs_opt.network.samples import accuracy

    if subject.network is None or subject.data is None:
        return None
    return accuracy(subject.network, subject.data.test_x, subject.data.test_y)


def accuracies(
    subject: Subject, specs: Iterable[MethodSpec], blocks: Sequence[Placed]
) -> Iterator[tuple[str, Accuracy]]:
    """The accuracy of the network with all its blocks pruned, for each method that has an answer to every block.

    ``blocks`` are the answers at one sparsity.
    """
    from cbs_opt.network.samples import accuracy
    from cbs_opt.network.weights import Weights

    if subject.network is None or subject.data is None or len(blocks) < subject.blocks:
        return
    dense = Weights.of(subject.network, subject.targets)
    starts = {target.tensor: part.start for target, part in dense.parts()}
    for spec in specs:
        if not all(spec.name in block.found for block in blocks):
            continue
        updated, as_trained, mask = dense.values.astype(np.float64), dense.values.copy(), dense.mask.copy()
        for block in blocks:
            kept, weights = block.found[spec.name]
            start = starts[block.tensor] + block.first
            place = slice(start, start + len(kept))
            mask[place], updated[place] = kept, weights
            as_trained[place] = np.where(kept, as_trained[place], 0.0)
        pruned = (dense.with_values(values, mask).into(subject.network) for values in (updated, as_trained))
        yield spec.name, Accuracy(*(accuracy(model, subject.data.test_x, subject.data.test_y) for model in pruned))
