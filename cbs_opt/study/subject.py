"""What a study is about: blocks by name, and the network they come from if there is one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.kernel.block_file import block_files
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.text import as_text

if TYPE_CHECKING:
    import torch

    from cbs_opt.network.data import Data
    from cbs_opt.study.cutting import Block

DIGITS_CURVATURE = {"fc1": "fisher", "fc2": "gram", "fc3": "fisher"}
DIGITS_SAMPLES = 1_000
UNITS = {
    "fisher": "the loss increase (empirical Fisher)",
    "gram": "half the mean squared change of a layer's outputs",
}

RELATIVE = "sums over {} count each block's loss relative to that of removing the whole block"


@dataclass(frozen=True, eq=False)
class StudyBlock:
    """One block: its problem (without a pattern) and the group of blocks it is summed with.

    ``place`` is where its weights live in the network, None for a block from a file.
    """

    problem: PruningProblem
    group: str
    place: Block | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """What a study is about.

    Parameters
    ----------
    name : str
    blocks : tuple of StudyBlock
    notes : tuple of str
        How the blocks were made, dampings included, and what was left out.
    settings : mapping
        Everything needed to make the same blocks again.
    unreadable : mapping of name to reason
        Blocks that could not even be loaded.
    mixed_units : bool
        Whether the objectives of its blocks are in different units, so that adding them as they are means nothing.
    network, data
        For the accuracy; None for blocks from files.
    """

    name: str
    blocks: tuple[StudyBlock, ...]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    mixed_units: bool = False
    network: torch.nn.Module | None = None
    data: Data | None = None

    @property
    def weights(self) -> int:
        """Number of weights in all blocks."""
        return sum(block.problem.n for block in self.blocks)


def digits_subject(*, samples: int = DIGITS_SAMPLES, dampening_frac: float = 1e-2, seed: int = 0) -> Subject:
    """The embedded digits network, whole: fc1 and fc3 in Fisher chunks of 32, fc2 in rows with the layer Gram."""
    from cbs_opt.network.data import digits_data
    from cbs_opt.network.load import load_network

    return model_subject(
        "digits network (64-32-16-10)",
        load_network("digits"),
        digits_data(),
        DIGITS_CURVATURE,
        samples=samples,
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
    block_size: int = 32,
    max_blocks: int | None = 64,
    samples: int = 1_000,
    dampening_frac: float = 1e-2,
    seed: int = 0,
) -> Subject:
    """A network of the user's own, its Linear layers cut into blocks.

    Parameters
    ----------
    network, weights
        As for ``cbs_opt.network.load_network``.
    data : path
        As for ``cbs_opt.network.load_data``; may be left out for 'digits'.
    curvature : 'fisher' or 'gram'
        Chunks of ``block_size`` weights, or rows.
    targets : patterns
        Layer names to take, as a shell would match them: 'fc*'.
    max_blocks : int or None
        Most blocks of one layer; None takes all.
    """
    from cbs_opt.network.data import digits_data, load_data
    from cbs_opt.network.load import load_network
    from cbs_opt.study.cutting import linear_layers

    model = load_network(network, weights)
    if data is None and network != "digits":
        raise InputError(f"network {network}: needs data to collect the curvature from; give an .npz")
    samples_from = digits_data() if data is None else load_data(data, network)
    patterns = tuple(targets)
    layers = linear_layers(model)
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            has = ", ".join(layers) or "no Linear layer"
            raise InputError(f"targets: no Linear layer is called {pattern!r}; the network has {has}")
    chosen = {layer: curvature for layer in layers if any(fnmatchcase(layer, pattern) for pattern in patterns)}
    return model_subject(
        network,
        model,
        samples_from,
        chosen,
        block_size=block_size,
        max_blocks=max_blocks,
        samples=samples,
        dampening_frac=dampening_frac,
        seed=seed,
        files={"weights": weights, "data": data},
    )


def model_subject(
    name: str,
    model: torch.nn.Module,
    data: Data,
    curvature: Mapping[str, str],
    *,
    block_size: int = 32,
    max_blocks: int | None = None,
    samples: int = 1_000,
    dampening_frac: float = 1e-2,
    seed: int = 0,
    files: Mapping[str, str | os.PathLike[str] | None] | None = None,
) -> Subject:
    """A network that is already in memory; ``curvature`` says 'fisher' or 'gram' for each layer to cut."""
    from cbs_opt.study.cutting import cut

    if samples < 1:
        raise InputError(f"samples: is {samples}; at least 1 is needed")
    available = len(data.train_y)
    chosen = np.sort(np.random.default_rng(seed).choice(available, min(samples, available), replace=False))
    layers = cut(
        model,
        data.train_x[chosen],
        data.train_y[chosen],
        curvature,
        block_size=block_size,
        dampening_frac=dampening_frac,
        max_blocks=max_blocks,
    )
    notes = []
    for layer in layers:
        shape = "chunks" if layer.curvature == "fisher" else "rows"
        notes.append(
            f"{layer.tensor}: {len(layer.blocks)} {shape}, {layer.curvature} of {len(chosen)} samples, "
            f"λ = {layer.damping:.3g}"
        )
        if len(layer.blocks) < layer.total:
            notes.append(
                f"{layer.tensor}: {layer.total - len(layer.blocks)} of {layer.total} blocks left out "
                "(max_blocks); their weights stay as trained"
            )
    notes += [f"{kind} objectives are in units of {UNITS[kind]}" for kind in dict.fromkeys(curvature.values())]
    weights = sum(model.get_parameter(layer.tensor).numel() for layer in layers)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if parameters > weights:
        notes.append(f"{parameters - weights} other parameters (biases, other layers) stay as trained")
    mixed = len(set(curvature.values())) > 1
    if mixed:
        notes.append(RELATIVE.format("layers"))
    if data.test_y is data.train_y:
        notes.append("the same samples serve for curvature and accuracy")
    return Subject(
        name=name,
        blocks=tuple(StudyBlock(b.problem, layer.tensor, b) for layer in layers for b in layer.blocks),
        notes=tuple(notes),
        settings={
            "curvature": dict(curvature),
            "block_size": block_size,
            "max_blocks": max_blocks,
            "samples": len(chosen),
            "dampening_frac": dampening_frac,
            "damping": {layer.tensor: layer.damping for layer in layers},
            "sample_seed": seed,
            **{key: str(value) for key, value in (files or {}).items() if value is not None},
        },
        mixed_units=mixed,
        network=model,
        data=data,
    )


def files_subject(paths: Iterable[str | os.PathLike[str]]) -> Subject:
    """Block files; a folder stands for the ``.npz`` files in it.

    Among several files, those that cannot be read are kept as failures; a single one raises. Nothing is known of
    their units, so several blocks count as being in different ones.
    """
    files = block_files(paths)
    blocks: list[StudyBlock] = []
    unreadable: dict[str, str] = {}
    for file in files:
        try:
            blocks.append(StudyBlock(PruningProblem.load(file), as_text(file.stem)))
        except CbsOptError as error:
            if len(files) == 1:
                raise
            unreadable[as_text(str(file))] = as_text(str(error).removeprefix(f"{file}: "))
    mixed = len(blocks) > 1
    return Subject(
        name="1 block file" if len(files) == 1 else f"{len(files)} block files",
        blocks=tuple(blocks),
        notes=(RELATIVE.format("blocks"),) if mixed else (),
        settings={"files": [as_text(str(file)) for file in files]},
        unreadable=unreadable,
        mixed_units=mixed,
    )
