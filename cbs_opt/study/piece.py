"""The blocks of a study, piece by piece: their curvature is collected when their turn comes, and then dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cbs_opt.kernel.problem import PruningProblem

if TYPE_CHECKING:
    import torch

    from cbs_opt.blocks.settings import Settings
    from cbs_opt.network.samples import Drawn
    from cbs_opt.network.targets import Target

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class StudyBlock:
    """One block of a study.

    Parameters
    ----------
    problem : PruningProblem
        Its problem, without a pattern.
    group : str
        The layer that it belongs to, or the file that it is from; sums are made by group.
    damping : float
        The λ in its curvature.
    first : int or None
        Where its weights begin in the matrix (out, in) of the layer, row by row; None for a block from a file.
    """

    problem: PruningProblem
    group: str
    damping: float
    first: int | None = None


@dataclass(frozen=True, eq=False)
class Cut:
    """The blocks of a piece, once they are made.

    Parameters
    ----------
    blocks : tuple of StudyBlock
        The blocks.
    notes : tuple of str
        What has to be known about them, in sentences.
    damping : mapping of str to float
        The λ of each layer.
    dominance : mapping of str to float
        λ divided by the mean diagonal of the curvature without it, of each layer, or of each block from a file.
    """

    blocks: tuple[StudyBlock, ...]
    notes: tuple[str, ...] = ()
    damping: Mapping[str, float] = field(default_factory=dict)
    dominance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some blocks of a subject, before they are made.

    Parameters
    ----------
    name : str
        A name for messages.
    blocks, weights : int
        How many blocks there will be, and how many weights they have.
    cut : callable
        Makes the blocks; it is called with a function that it tells in a few words what is being done.
    """

    name: str
    blocks: int
    weights: int
    cut: Callable[[Tell], Cut]


def network_pieces(
    model: torch.nn.Module, samples: Drawn, cuts: Sequence[tuple[Target, Settings]]
) -> tuple[Piece, ...]:
    """The layers of a network as pieces, each of as many layers as fit, with their curvature, into a share of memory.

    Raises
    ------
    TooLargeError
        The blocks of a layer are too large (names the layer).
    """
    from cbs_opt.blocks.settings import MOST_GRADIENTS, check_sizes, packs
    from cbs_opt.collect.memory import available_memory

    for target, settings in cuts:
        check_sizes([target], settings, None)
    own = dict(cuts)
    sizes = [_size(target, settings) for target, settings in cuts]
    pieces = []
    for pack in packs(list(own), sizes, min(MOST_GRADIENTS, available_memory() / 4)):
        counted = [n for target in pack for _, n in own[target].pieces(target)]
        chosen = [(target, own[target]) for target in pack]
        name = pack[0].name if len(pack) == 1 else f"{pack[0].name} to {pack[-1].name}"
        pieces.append(Piece(name, len(counted), sum(counted), partial(_cut, model, samples, chosen)))
    return tuple(pieces)


def _size(target: Target, settings: Settings) -> float:
    """How many bytes the curvature of a layer takes while its blocks are made and solved."""
    if settings.curvature == "fisher":
        return 8.0 * settings.samples * target.numel
    return 3 * 8.0 * target.groups * target.inputs**2


def _cut(model: torch.nn.Module, samples: Drawn, cuts: Sequence[tuple[Target, Settings]], tell: Tell) -> Cut:
    """Make the blocks of these layers, in the order of the layers, whichever curvature each of them has."""
    from cbs_opt.blocks.cut import fisher_blocks, gram_blocks
    from cbs_opt.blocks.memory import BlocksInMemory

    sink, remarks = BlocksInMemory(), list[str]()
    dominance: dict[str, float] = {}
    for kind in dict.fromkeys(settings.curvature for _, settings in cuts):
        mine = [target for target, settings in cuts if settings.curvature == kind]
        own = next(settings for _, settings in cuts if settings.curvature == kind)
        if kind == "fisher":
            cut = fisher_blocks(model, samples, mine, own, sink, tell)
        else:
            cut = gram_blocks(model, samples, mine, own, sink, tell, own.precision)
        remarks += cut.notes
        dominance |= cut.dominance
    by_layer = {target.tensor: [block for block in sink.blocks if block.target == target] for target, _ in cuts}
    damping = {tensor: blocks[0].damping for tensor, blocks in by_layer.items()}
    notes = [_note(target, settings, len(by_layer[target.tensor]), damping[target.tensor]) for target, settings in cuts]
    # Notes on the precision are left out, as it is always the same here; all others stay.
    notes += [remark for remark in dict.fromkeys(remarks) if not remark.startswith("gradients in ")]
    return Cut(
        tuple(
            StudyBlock(block.problem, tensor, block.damping, block.first)
            for tensor, blocks in by_layer.items()
            for block in blocks
        ),
        tuple(notes),
        damping,
        dominance,
    )


def _note(target: Target, settings: Settings, taken: int, damping: float) -> str:
    total = settings.count(target)
    some = f"{taken} of {total}" if taken < total else str(taken)
    made = f"{settings.curvature} of {settings.samples} samples, λ = {damping:.3g}"
    return f"{target.tensor}: {some} {settings.words}, {made}"
