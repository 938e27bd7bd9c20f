"""The manifest of extracted blocks: where in the network the weights of each block belong, and how blocks were made.

``manifest.json`` lies in the folder of the block files and is their table of contents:

=================  ============================================================================================
``format``         1
``network``        name of the network, '' if it was given as a module
``weights``        ``file``, ``path`` (from the manifest's folder) and ``sha256`` of the weights file (null: embedded,
                   or none), and ``state``: the SHA-256 of the network's tensors themselves, whatever file they came
                   from
``data``           name of the data file, and ``data_path``: where it lies, from the manifest's folder
``targets``, ``ignore``, ``partition`` ('rows', 'layers', 'chunks'), ``chunk``, ``curvature``, ``dense``,
``damping``, ``dampening_frac``, ``samples``, ``seed``, ``precision``: the arguments of ``extract``
``notes``          what was altered or looks wrong
``versions``       the versions with which the blocks were computed
``tensors``        by name: ``shape``; ``rows`` (outputs); ``kind`` ('linear', 'conv2d', 'conv1d'); ``groups``
``blocks``         for each block: ``file``; ``content`` (see ``kernel.block_file.content_of``); ``tensor``; ``first``
                   and ``n``: which weights; ``damping``: its λ
=================  ============================================================================================

A block holds n consecutive weights of a tensor, from number ``first`` on, counted row by row in the tensor's matrix
(out, in). This is the order of the flattened tensor, except for the kind 'conv1d', which is stored as (in, out).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, Any, TypeVar

from cbs_opt.errors import InputError
from cbs_opt.kernel.files import write_whole
from cbs_opt.kernel.text import as_path
from cbs_opt.network.checkpoint import file_digest

FORMAT = 1
NAME = "manifest.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ManifestBlock:
    """The entry of one block file in a manifest.

    Parameters
    ----------
    file : str
        The name of the file in the manifest's folder.
    content : str
        The digest of the file when it was written (``content_of``).
    tensor : str
        The name of the tensor that its weights belong to.
    first, n : int
        The block holds weights ``first`` to ``first + n - 1`` of the tensor's matrix (out, in), counted row by row.
    damping : float
        The λ in its curvature.
    """

    file: str
    content: str
    tensor: str
    first: int
    n: int
    damping: float


@dataclass(frozen=True, eq=False)
class Manifest:
    """A manifest of extracted blocks, as ``load_manifest`` reads it.

    Parameters
    ----------
    file : Path
        The file of the manifest.
    facts : mapping
        Everything in the manifest but the blocks.
    blocks : tuple of ManifestBlock
        The entries of all blocks.
    """

    file: Path
    facts: Mapping[str, Any]
    blocks: tuple[ManifestBlock, ...]

    @property
    def folder(self) -> Path:
        """The folder of the block files."""
        return self.file.parent

    @property
    def network(self) -> str:
        """The name of the network; '' where none was given."""
        return str(self.facts["network"])

    @property
    def weights(self) -> Mapping[str, Any]:
        """The weights that the blocks were cut from: 'file', 'path', 'sha256' and 'state', as in the manifest."""
        return dict(self.facts["weights"])

    @property
    def weights_file(self) -> Path | None:
        """The weights file that the blocks were cut from, with the same content as then; None if there was none.

        Raises
        ------
        InputError
            There was one, and it cannot be found, or has changed.
        """
        name, digest = self.weights.get("file"), self.weights.get("sha256")
        if not name:
            return None
        for file in self._places(self.weights.get("path"), name):
            if file_digest(file) == digest:
                return file
        raise InputError(
            f"{self.file}: the blocks were cut from the weights file {name}, which is not where it was, or not what it "
            "was; give it as --weights FILE"
        )

    @property
    def data_file(self) -> Path | None:
        """The data file that the blocks were cut with; None if there was none, or if it cannot be found."""
        name = self.facts.get("data")
        return next(iter(self._places(self.facts.get("data_path"), name)), None) if name else None

    def _places(self, path: Any, name: Any) -> list[Path]:
        """The files at ``path`` from the manifest's folder, and called ``name`` there or in the current folder."""
        told = [self.folder / as_path(path)] if isinstance(path, str) else []
        return [file for file in (*told, self.folder / as_path(str(name)), Path(as_path(str(name)))) if file.is_file()]

    @property
    def tensors(self) -> Mapping[str, Mapping[str, Any]]:
        """The tensors by name, each with 'shape', 'rows', 'kind' and 'groups'."""
        return dict(self.facts["tensors"])

    def path(self, block: ManifestBlock) -> Path:
        """The path of the block's file."""
        return self.folder / block.file


def is_manifest(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` names a manifest (a .json file) or a folder that holds one."""
    file = Path(path)
    return (file / NAME).is_file() if file.is_dir() else file.suffix.lower() == ".json"


def load_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest, or the one in a folder, and check it.

    Raises
    ------
    InputError
        The file is no manifest or has another format, it lists no blocks, a block lies outside its tensor, or two
        blocks share a weight. The message names the file, the entry and what is wrong.
    """
    file = Path(path)
    if file.is_dir():
        file /= NAME
    try:
        read = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror or error}); name the {NAME} that `cbs-opt extract` "
            "wrote, or its folder"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is no manifest ({error}); extract the blocks again") from None
    try:
        return _checked(file, read)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def write_manifest(file: Path, facts: Mapping[str, Any], lines: Iterator[str]) -> None:
    """Write a manifest, whole or not at all; ``lines`` hold the blocks, one JSON object each (see ``line_of``)."""

    def write(stream: IO[bytes]) -> None:
        head = json.dumps({"format": FORMAT, **facts}, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write(head.removesuffix("\n}").encode() + b',\n "blocks": [')
        for number, line in enumerate(lines):
            stream.write(b",\n  " if number else b"\n  ")
            stream.write(line.strip().encode())
        stream.write(b"\n ]\n}\n")

    write_whole(file, write)


def line_of(block: ManifestBlock) -> str:
    """The entry of a block as one line of JSON."""
    return json.dumps({name: getattr(block, name) for name in ManifestBlock.__slots__}, ensure_ascii=False)


# ---------------------------------------------------------------- checks

_FACTS: Mapping[str, Any] = {"network": str, "weights": dict, "partition": str, "curvature": str, "tensors": dict}


def _checked(file: Path, read: Any) -> Manifest:
    if not isinstance(read, dict) or "format" not in read or "blocks" not in read:
        raise InputError("is no manifest of extracted blocks; name the one that `cbs-opt extract` wrote")
    if read["format"] != FORMAT:
        raise InputError(
            f"has format {read['format']!r}, but this version reads format {FORMAT}; extract the blocks "
            "again with this version, or use the version that wrote it"
        )
    for name, kind in _FACTS.items():
        _of(kind, read, name, "the manifest")
    sizes = {}
    for name, tensor in read["tensors"].items():
        if not name.isprintable():
            raise InputError(f"tensor {name!r}: printable characters are needed")
        shape = _of(list, tensor, "shape", f"tensor {name}")
        if not shape or not all(type(size) is int and size > 0 for size in shape):
            raise InputError(f"tensor {name}: has the shape {shape}; whole numbers of at least 1 are needed")
        sizes[name] = prod(shape)
    blocks = tuple(_block(number, entry) for number, entry in enumerate(_of(list, read, "blocks", "the manifest")))
    for block in blocks:
        size = sizes.get(block.tensor)
        if size is None:
            raise InputError(f"{block.file}: is of tensor {block.tensor}, which the manifest does not describe")
        if not (block.first >= 0 and block.n >= 1 and block.first + block.n <= size):
            raise InputError(
                f"{block.file}: holds weights {block.first} to {block.first + block.n - 1}, but "
                f"{block.tensor} has {size}"
            )
    if not blocks:
        raise InputError("lists no blocks; extract the blocks again")
    for one, other in _neighbours(blocks):
        if one.tensor == other.tensor and one.first + one.n > other.first:
            raise InputError(f"{one.file} and {other.file}: both hold weight {other.first} of {one.tensor}")
    names = {block.file for block in blocks}
    if len(names) < len(blocks):
        raise InputError("names one block file twice")
    facts = {name: value for name, value in read.items() if name != "blocks"}
    return Manifest(file, facts, blocks)


def _neighbours(blocks: tuple[ManifestBlock, ...]) -> Iterator[tuple[ManifestBlock, ManifestBlock]]:
    ordered = sorted(blocks, key=lambda block: (block.tensor, block.first))
    yield from pairwise(ordered)


def _block(number: int, entry: Any) -> ManifestBlock:
    where = f"block {number}"
    file = _of(str, entry, "file", where)
    if not file.endswith(".npz") or Path(file).name != file or set(file) & set("/\\\0"):
        raise InputError(f"{where}: file is {file!r}; a bare name of an .npz in the manifest's folder is needed")
    damping = entry.get("damping")
    if isinstance(damping, bool) or not isinstance(damping, (int, float)) or not 0 <= damping <= sys.float_info.max:
        raise InputError(f"{where}: damping is {damping!r:.40}; a finite number of at least 0 is needed")
    return ManifestBlock(
        file,
        _of(str, entry, "content", where),
        _of(str, entry, "tensor", where),
        _of(int, entry, "first", where),
        _of(int, entry, "n", where),
        float(damping),
    )


def _of(kind: type[T], entry: Any, name: str, where: str) -> T:
    """``entry[name]``, which has to be a ``kind``."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where}: {name} is {value!r}, but a {kind.__name__} is needed")
    if isinstance(value, str) and not value.isprintable():
        raise InputError(f"{where}: {name} is {value!r}; printable characters are needed")
    return value
