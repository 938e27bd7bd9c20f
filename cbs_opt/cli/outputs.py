"""The check that all commands make before any work: no output replaces an input or another output.

Two paths are the same place if they lead to the same file, also through symbolic or hard links, or, while there is no
such file yet, if they resolve to the same name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cbs_opt.errors import InputError

Place = tuple[int, int] | str
"""Device and inode of the file at a path; the resolved path where there is none yet."""


def check_outputs(
    *files: str | Path | None,
    made: Iterable[str | Path] = (),
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """Raise where an output could not be written, or would replace an input or another output.

    Parameters
    ----------
    files : path, '-' or None
        The output files that options name: each has to be writable. '-' and None are no files.
    made : paths
        What else is written: a folder and the files in it, a store with its companions.
    inputs : path or None
        Everything the command reads; see ``block_inputs`` and ``network_inputs``.

    Raises
    ------
    InputError
        An output cannot be written, or would replace something (both paths are named).
    """
    from cbs_opt.kernel.files import require_writable

    named = [file for file in files if file is not None and str(file) != "-"]
    for file in named:
        require_writable(file)
    read: dict[Place, str | Path] = {}
    for path in inputs:
        if path is not None:
            read.setdefault(_place(path), path)
    written: dict[Place, str | Path] = {}
    for path in (*made, *named):
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            continue  # a device such as /dev/null takes everything
        place = _place(path)
        if place in read:
            raise InputError(f"{path}: is the input {read[place]}, too; write to another file")
        if place in written:
            raise InputError(f"{path}: is the output {written[place]}, too; write to another file")
        written[place] = path


def block_inputs(places: Iterable[str | Path]) -> Iterator[Path]:
    """All files that are read when blocks are: the blocks, the curvature files that they may share, the manifest.

    A folder stands for the blocks and the manifest in it, and a manifest for the blocks in its folder.
    """
    from cbs_opt.blocks.manifest import NAME
    from cbs_opt.kernel.block_file import CURVATURE_SUFFIX

    looked_at: set[tuple[Path, str]] = set()
    for path in map(Path, places):
        if path.is_dir():
            folder, pattern = path, "*.npz"
            yield path / NAME
        else:
            folder, pattern = path.parent, "*.npz" if path.suffix.lower() == ".json" else f"*{CURVATURE_SUFFIX}"
            yield path
        if (folder, pattern) not in looked_at:
            looked_at.add((folder, pattern))
            yield from folder.glob(pattern)


def network_inputs(network: str | None, *files: Path | None) -> Iterator[Path]:
    """The ``files`` of a network, and the source of a ``module:factory`` if it lies in the current folder."""
    yield from (file for file in files if file is not None)
    if network is not None and ":" in network:
        module = Path(*network.partition(":")[0].split("."))
        yield from (module.with_name(f"{module.name}.py"), module / "__init__.py")


def _place(path: str | Path) -> Place:
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino
