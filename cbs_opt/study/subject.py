"""The subject of a study: its blocks, and the network that they were cut from if there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.kernel.block_file import block_files
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.text import as_text
from cbs_opt.study.piece import Cut, Piece, StudyBlock, network_pieces

if TYPE_CHECKING:
    import torch

    from cbs_opt.network.data import Data, Images
    from cbs_opt.network.targets import Target

DIGITS_CURVATURE = {"fc1": "fisher", "fc2": "gram", "fc3": "fisher"}
DIGITS_SAMPLES = 1_000
BLOCKS_PER_LAYER = 8
"""The most blocks of a layer by default, but for the digits network: so ResNet20 with its 22 layers takes minutes."""

UNITS = {
    "fisher": "the loss increase (empirical Fisher)",
    "gram": "half the mean squared change of a layer's outputs",
}

RELATIVE = "sums over {} count each block's loss relative to that of removing the whole block"


@dataclass(frozen=True, eq=False)
class Subject:
    """What a study is about: blocks, and the network that they were cut from if there is one.

    Parameters
    ----------
    name : str
        A name for tables and the page.
    pieces : tuple of Piece
        The blocks, some at a time.
    notes : tuple of str
        What has to be known about all blocks; notes about some of them come with their piece.
    settings : mapping
        Everything that is needed to make the same blocks again.
    totals : mapping of group to int
        How many blocks each layer has, whether they are studied or not; empty for blocks from files.
    unreadable : mapping of name to reason
        The blocks that could not be loaded.
    mixed_units : bool
        Whether the objectives of its blocks are in different units, so that their plain sum would mean nothing.
    network, data
        The network and the samples that accuracy is measured with; None for blocks from files. Without labels there
        are no such samples.
    targets : tuple of Target
        The layers that are cut into blocks.
    """

    name: str
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    mixed_units: bool = False
    network: torch.nn.Module | None = None
    data: Data | None = None
    targets: tuple[Target, ...] = ()

    @property
    def blocks(self) -> int:
        """Number of blocks to be studied."""
        return sum(piece.blocks for piece in self.pieces)

    @property
    def weights(self) -> int:
        """Number of weights in these blocks."""
        return sum(piece.weights for piece in self.pieces)


def digits_subject(
    *,
    samples: int = DIGITS_SAMPLES,
    damping: float | None = None,
    dampening_frac: float | None = None,
    seed: int = 0,
) -> Subject:
    """All of the embedded digits network: fc1 and fc3 in chunks of 32 with the Fisher, fc2 in rows with the layer Gram.

    Parameters
    ----------
    samples : int
        How many samples the curvature is made from.
    damping, dampening_frac : float
        λ itself, or λ as a share of the mean diagonal of each layer's curvature; the share is 0.01 if neither is given.
    seed : int
        Seed of the draw of samples.
    """
    from cbs_opt.network.data import digits_data
    from cbs_opt.network.load import load_network

    return model_subject(
        "digits network (64-32-16-10)",
        load_network("digits"),
        digits_data(),
        DIGITS_CURVATURE,
        samples=samples,
        damping=damping,
        dampening_frac=dampening_frac,
        seed=seed,
    )


def network_subject(
    network: str,
    data: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    *,
    curvature: str = "fisher",
    targets: Iterable[str] = ("*",),
    partition: str | int | None = None,
    blocks_per_layer: int | None = BLOCKS_PER_LAYER,
    samples: int = 1_000,
    damping: float | None = None,
    dampening_frac: float | None = None,
    seed: int = 0,
) -> Subject:
    """A network from files, or known by name, with its layers cut into blocks.

    Parameters
    ----------
    network, weights
        The network and its weights, as for ``cbs_opt.network.load_network``.
    data : path
        Its samples, as for ``cbs_opt.network.load_data``; may be left out for 'digits'. With 'gram' a file of x without
        labels will do, and accuracy is then not measured.
    curvature : 'fisher' or 'gram'
        The curvature of the blocks. A block is a chunk of 32 weights with 'fisher' and a row with 'gram', unless
        ``partition`` says otherwise.
    targets : patterns
        Names of layers to take, as a shell would match them: 'fc*', 'layer1.*'. Left out: all that can be pruned.
    partition : str or int, optional
        What a block is, as for ``extract``: 'row', 'layer', or the number of weights in a chunk.
    blocks_per_layer : int or None
        The most blocks of one layer, evenly spread over it; None takes all.
    samples : int
        How many samples the curvature is made from.
    damping, dampening_frac : float
        λ itself, or λ as a share of the mean diagonal of each layer's curvature; the share is 0.01 if neither is given.
    seed : int
        Seed of the draw of samples.
    """
    from cbs_opt.network.data import digits_data, load_data, load_samples
    from cbs_opt.network.load import load_network
    from cbs_opt.network.targets import find_targets

    model = load_network(network, weights)
    if data is None and network != "digits":
        raise InputError(f"network {network}: needs data to collect the curvature from; give an .npz")
    load = load_samples if curvature == "gram" else load_data
    samples_from = digits_data() if data is None else load(data, network)
    chosen = {target.name: curvature for target in find_targets(model, targets)}
    return model_subject(
        network,
        model,
        samples_from,
        chosen,
        partition=partition,
        blocks_per_layer=blocks_per_layer,
        samples=samples,
        damping=damping,
        dampening_frac=dampening_frac,
        seed=seed,
        files={"weights": weights, "data": data},
    )


def model_subject(
    name: str,
    model: torch.nn.Module,
    data: Data | Images,
    curvature: Mapping[str, str],
    *,
    partition: str | int | None = None,
    blocks_per_layer: int | None = None,
    samples: int = 1_000,
    damping: float | None = None,
    dampening_frac: float | None = None,
    seed: int = 0,
    files: Mapping[str, str | os.PathLike[str] | None] | None = None,
) -> Subject:
    """A network that is already in memory, with its layers cut into blocks.

    No curvature is collected yet: a study does that, piece by piece.

    Parameters
    ----------
    name : str
        A name for tables and the page.
    model : torch.nn.Module
        The trained network; it stays as it is.
    data : Data or array
        The samples that curvature is collected from and accuracy is measured on; where all curvature is 'gram', samples
        without labels will do, and accuracy is then not measured.
    curvature : mapping of str to str
        For each layer to cut, by its name, the curvature of its blocks: 'fisher' (a block is a chunk of 32 weights) or
        'gram' (a block is a row), unless ``partition`` says otherwise.
    partition : str or int, optional
        What a block is, as for ``extract``: 'row', 'layer', or the number of weights in a chunk.
    blocks_per_layer : int or None
        The most blocks of one layer, evenly spread over it; None takes all.
    samples : int
        How many samples the curvature is made from.
    damping, dampening_frac : float
        λ itself, or λ as a share of the mean diagonal of each layer's curvature; the share is 0.01 if neither is given.
    seed : int
        Seed of the draw of samples.
    files : mapping of str to path, optional
        Where network and data came from, for the record in ``settings``.
    """
    from cbs_opt.blocks.settings import Settings
    from cbs_opt.network.data import Data, calibration
    from cbs_opt.network.samples import Drawn, clipped
    from cbs_opt.network.targets import find_target
    from cbs_opt.network.weights import Weights

    if samples < 1:
        raise InputError(f"samples: is {samples}; at least 1 is needed")
    x, y = calibration(data, needs_labels="fisher" in curvature.values())
    labelled = data if isinstance(data, Data) else None
    available = len(x)
    chosen = np.sort(np.random.default_rng(seed).choice(available, min(samples, available), replace=False))
    settings = {
        kind: Settings(
            kind,
            partition,
            samples=len(chosen),
            damping=damping,
            dampening_frac=dampening_frac,
            precision="float64",
            blocks_per_layer=blocks_per_layer,
        )
        for kind in dict.fromkeys(curvature.values())
    }
    targets = tuple(find_target(model, layer) for layer in curvature)
    Weights.of(model, targets)  # raises where a weight is not finite
    cuts = [(target, settings[kind]) for target, kind in zip(targets, curvature.values(), strict=True)]
    drawn = Drawn(x.take(chosen), None if y is None else y[chosen], chosen)
    notes = [*clipped(samples, available)[1]]
    notes += [f"{kind} objectives are in units of {UNITS[kind]}" for kind in settings]
    weights = sum(target.numel for target in targets)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if parameters > weights:
        notes.append(f"{parameters - weights} other parameters (biases, other layers) stay as trained")
    mixed = len(settings) > 1
    if mixed:
        notes.append(RELATIVE.format("layers"))
    if labelled is None:
        notes.append("accuracy is not measured, because the data have no test part with labels")
    else:
        notes += labelled.notes
    return Subject(
        name=name,
        pieces=network_pieces(model, drawn, cuts),
        notes=tuple(notes),
        settings={
            "curvature": dict(curvature),
            "partition": {kind: own.partition for kind, own in settings.items()},
            "blocks_per_layer": blocks_per_layer,
            "samples": len(chosen),
            "dampening_frac": next(iter(settings.values())).dampening_frac,
            "damping": {},
            "sample_seed": seed,
            **{key: str(value) for key, value in (files or {}).items() if value is not None},
        },
        totals={target.tensor: own.count(target) for target, own in cuts},
        mixed_units=mixed,
        network=model,
        data=labelled,
        targets=targets,
    )


def files_subject(paths: Iterable[str | os.PathLike[str]]) -> Subject:
    """Blocks from files; a folder stands for the ``.npz`` files in it.

    If there are several files, those that cannot be read are recorded as failures; a single one raises. The units of
    their objectives are unknown, so that several blocks are taken to have different ones.
    """
    files = block_files(paths)
    blocks: list[StudyBlock] = []
    unreadable: dict[str, str] = {}
    for file in files:
        try:
            problem = PruningProblem.load(file)
            blocks.append(StudyBlock(problem, as_text(file.stem), problem.curvature.damping))
        except CbsOptError as error:
            if len(files) == 1:
                raise
            unreadable[as_text(str(file))] = as_text(str(error).removeprefix(f"{file}: "))
    mixed = len(blocks) > 1
    return Subject(
        name="1 block file" if len(files) == 1 else f"{len(files)} block files",
        pieces=(_loaded(blocks),) if blocks else (),
        notes=(RELATIVE.format("blocks"),) if mixed else (),
        settings={"files": [as_text(str(file)) for file in files]},
        unreadable=unreadable,
        mixed_units=mixed,
    )


def _loaded(blocks: Sequence[StudyBlock]) -> Piece:
    """A piece of blocks that are made already."""
    return Piece("", len(blocks), sum(block.problem.n for block in blocks), partial(_as_they_are, tuple(blocks)))


def _as_they_are(blocks: tuple[StudyBlock, ...], tell: Callable[[str], None]) -> Cut:
    return Cut(blocks, dominance={block.problem.name: block.problem.curvature.dominance for block in blocks})
