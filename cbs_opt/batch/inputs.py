"""Finding the blocks of a batch, which are given as files, folders, patterns of file names, and manifests."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cbs_opt.blocks.manifest import is_manifest, load_manifest
from cbs_opt.errors import BlockFileError, InputError
from cbs_opt.kernel.block_file import block_files, identify, without_curvature
from cbs_opt.store.rows import Block


def find_blocks(places: Iterable[str | os.PathLike[str]]) -> Iterator[Block]:
    """The blocks at ``places``, each with the digest of its content, and each file once.

    A folder with a manifest stands for the blocks that the manifest lists. Files are only hashed here; one that is no
    readable block is noticed when its task is solved.

    Raises
    ------
    BlockFileError, InputError
        A file is missing or cannot be opened, nothing matches a pattern, or a manifest is damaged.
    """
    seen: set[str] = set()
    for block in _all(places):
        if block.file not in seen:
            seen.add(block.file)
            yield block


def _all(places: Iterable[str | os.PathLike[str]]) -> Iterator[Block]:
    for place in without_curvature(places):
        for path in matches(str(place)):
            if is_manifest(path):
                manifest = load_manifest(path)
                where = os.path.abspath(manifest.file)
                for entry in manifest.blocks:
                    file = Path(os.path.abspath(manifest.path(entry)))
                    yield Block(entry.content, file.stem, str(file), entry.n, entry.tensor, entry.first, where)
                continue
            for file in block_files([path]):
                if file.is_dir():
                    raise BlockFileError(f"{file}: is a folder; name a file in it")
                content, weights = identify(file)
                yield Block(content, file.stem, os.path.abspath(file), weights)


def matches(place: str) -> list[str]:
    """The paths that match the pattern ``place``; an existing path, or one without wildcards, stands for itself."""
    if Path(place).exists() or not glob.has_magic(place):
        return [place]
    found = without_curvature(sorted(glob.glob(place, recursive=True)))
    if not found:
        raise InputError(f"{place}: nothing matches this pattern")
    return found
