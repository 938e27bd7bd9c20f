"""The settings of an extraction, checked before anything is computed, and the pieces that it cuts a layer into."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.collect.memory import available_memory
from cbs_opt.errors import InputError, TooLargeError, UnsupportedError, unknown_name
from cbs_opt.kernel.curvature.base import MAX_DENSE
from cbs_opt.kernel.curvature.damping import damping_asked
from cbs_opt.network.samples import PRECISIONS, Precision
from cbs_opt.network.targets import Target

CURVATURES = ("fisher", "gram")
PARTITIONS = ("row", "layer")
CHUNK = 32
"""The default number of weights of a Fisher chunk, small enough for exact methods."""

OVERHEAD = 2_000
"""About the bytes of a block file besides its arrays, with its line in the manifest."""

MOST_GRADIENTS = 2.0**31
"""The largest number of bytes of gradients, or of Gram matrices, that are held at once; less if memory is short."""


@dataclass(frozen=True)
class Settings:
    """The settings of an extraction; ``cbs_opt.extract`` describes its arguments of the same names."""

    curvature: str = "fisher"
    partition: str | int | None = None
    samples: int = 1_000
    damping: float | None = None
    dampening_frac: float | None = None
    dense: bool = False
    precision: Precision = "float32"
    device: str = "cpu"
    seed: int = 0
    blocks_per_layer: int | None = None
    """The largest number of blocks of a layer, evenly spread over it; None for all blocks."""

    def __post_init__(self) -> None:
        if self.curvature not in CURVATURES:
            if self.curvature in ("sequential", "gauss-newton"):
                raise UnsupportedError(
                    f"curvature {self.curvature}: its blocks depend on what became of those before "
                    "them, so they cannot be cut out beforehand; use fisher or gram, or "
                    "`cbs-opt prune`"
                )
            raise unknown_name("curvature", self.curvature, list(CURVATURES))
        if self.partition is None:
            object.__setattr__(self, "partition", CHUNK if self.curvature == "fisher" else "row")
        whole = isinstance(self.partition, int) and not isinstance(self.partition, bool)
        if (whole and int(self.partition) < 1) or not (whole or self.partition in PARTITIONS):  # type: ignore[arg-type]
            raise InputError(
                f"partition: is {self.partition!r}; give row, layer or a number of weights a chunk (a "
                "network as one problem is what `cbs-opt prune` solves)"
            )
        needed_by = "fisher" if self.curvature == "fisher" else ""
        damping, dampening_frac = damping_asked(self.damping, self.dampening_frac, needed_by)
        object.__setattr__(self, "damping", damping)
        object.__setattr__(self, "dampening_frac", dampening_frac)
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)) or self.seed < 0:
            raise InputError(f"seed: is {self.seed!r}; a whole number of at least 0 is needed")
        if self.blocks_per_layer is not None and self.blocks_per_layer < 1:
            raise InputError(f"blocks_per_layer: is {self.blocks_per_layer}; at least 1 is needed")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: is {self.precision!r}; there are {' and '.join(PRECISIONS)}")

    @property
    def words(self) -> str:
        """The partition in the words of the manifest: 'rows', 'layers' or 'chunks'."""
        return "chunks" if isinstance(self.partition, int) else f"{self.partition}s"

    def formed(self, n: int) -> bool:
        """Whether a Fisher block of n weights stores H: if asked for, or if H is no larger than its factor."""
        return self.dense or n <= self.samples

    def pieces(self, target: Target) -> Iterator[tuple[int, int]]:
        """(first, n) for each block that is made of a layer; weights are counted row by row in its matrix (out, in)."""
        most = self.blocks_per_layer
        total = 0 if most is None else self.count(target)
        if most is None or most >= total:
            yield from self._all_pieces(target)
            return
        chosen = {i * total // most for i in range(most)}
        yield from (piece for number, piece in enumerate(self._all_pieces(target)) if number in chosen)

    def count(self, target: Target) -> int:
        """The number of all blocks of a layer, before ``blocks_per_layer`` limits it."""
        return sum(1 for _ in self._all_pieces(target))

    def _all_pieces(self, target: Target) -> Iterator[tuple[int, int]]:
        """(first, n) for each block of a layer.

        With Gram curvature rows do not interact, so that chunks end with their row, and a layer is cut into the groups
        of its convolution.
        """
        inputs = target.inputs
        if self.partition == "row":
            yield from ((row * inputs, inputs) for row in range(target.outputs))
        elif self.partition == "layer":
            parts = target.groups if self.curvature == "gram" else 1
            size = target.numel // parts
            yield from ((part * size, size) for part in range(parts))
        else:
            assert isinstance(self.partition, int), "checked above"
            within = inputs if self.curvature == "gram" else target.numel
            for start in range(0, target.numel, within):
                for first in range(start, start + within, self.partition):
                    yield first, min(self.partition, start + within - first)

    def facts(self) -> dict[str, Any]:
        """The settings as the manifest records them."""
        return {
            "partition": self.words,
            "chunk": self.partition if isinstance(self.partition, int) else None,
            "curvature": self.curvature,
            "dense": self.dense,
            "damping": self.damping,
            "dampening_frac": self.dampening_frac,
            "samples": self.samples,
            "seed": self.seed,
            "precision": self.precision,
        }


def check_sizes(targets: Sequence[Target], settings: Settings, folder: Path | None) -> int:
    """Check that no block is too large and that all of them fit on the disk; returns their number.

    Parameters
    ----------
    targets : sequence of Target
        The layers.
    settings : Settings
        How they are cut.
    folder : path or None
        A folder on the disk; None if blocks are kept in memory.

    Raises
    ------
    TooLargeError
        A block or all of them are too large; the message names the layer and says how to cut it.
    """
    count, needed, free = 0, 0.0, available_memory()
    for target in targets:
        order = target.inputs if settings.partition == "layer" else 0
        for _, n in settings.pieces(target):
            count += 1
            if settings.curvature == "gram" and not settings.dense:
                _check_order(target, order or n, "its Gram matrix")
                stored = 8.0 * order * order
            elif settings.curvature == "gram" or settings.formed(n):
                _check_order(target, n, "its dense curvature")
                stored = 8.0 * n * n
            else:
                stored = 8.0 * n * settings.samples
                if stored > free / 4:
                    raise TooLargeError(
                        f"layer {target.name}: as one block its {n:,} weights and {settings.samples:,} samples make a "
                        f"factor of {stored / 1e9:.3g} GB, more than a quarter of the free memory; cut the layer "
                        "into rows or chunks (--partition row, --partition 64), or take fewer samples"
                    )
            needed += stored + 8.0 * n + OVERHEAD
        if settings.curvature == "gram" and not settings.dense and settings.partition != "layer":
            size = target.inputs if settings.partition == "row" else min(int(settings.partition or 0), target.inputs)
            needed += 8.0 * target.groups * target.inputs * size
    room = math.inf if folder is None else shutil.disk_usage(folder).free
    if needed > room:
        raise TooLargeError(
            f"{folder}: has {room / 1e9:.3g} GB free, but {count:,} blocks take {needed / 1e9:.3g} GB; "
            "choose another disk, smaller blocks or fewer layers"
        )
    return count


def packs(targets: Sequence[Target], sizes: Sequence[float], most: float) -> Iterator[tuple[Target, ...]]:
    """The targets in order, in groups whose ``sizes`` sum to at most ``most`` bytes, with at least one in each."""
    pack: list[Target] = []
    total = 0.0
    for target, size in zip(targets, sizes, strict=True):
        if pack and total + size > most:
            yield tuple(pack)
            pack, total = [], 0.0
        pack.append(target)
        total += size
    if pack:
        yield tuple(pack)


def _check_order(target: Target, n: int, what: str) -> None:
    if n > MAX_DENSE:
        raise TooLargeError(
            f"layer {target.name}: {what} of {n:,} weights would take {8e-9 * n * n:,.0f} GB; cut the layer into rows "
            "or smaller chunks (--partition row, --partition 64), or leave it out (--ignore)"
        )
