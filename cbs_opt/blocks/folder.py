"""The folder of extracted blocks, which appears only when it is complete.

Everything is first written into a folder ``….partial`` beside it, the manifest last; then that folder is renamed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from cbs_opt.blocks.manifest import NAME, ManifestBlock, line_of, write_manifest
from cbs_opt.errors import InputError
from cbs_opt.kernel.block_file import CURVATURE_SUFFIX, content_of, save_curvature
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.files import require_writable
from cbs_opt.kernel.interrupts import interrupts_held
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.targets import Target


class BlockFolder:
    """A ``Sink`` that writes blocks to a new folder, to be used in a ``with`` statement.

    ``finish`` gives the folder its name; leaving the statement without it removes what was written. Memory does not
    grow with the number of blocks, since the lines of the manifest are kept in a temporary file.

    Raises
    ------
    InputError
        The place is taken by something other than an empty folder, or cannot be written to.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.place = Path(out)
        if self.place.name in ("", ".."):
            raise InputError(f"{out}: is where you are or above it; name a new folder")
        self.partial = self.place.with_name(f"{self.place.name}.partial")
        self.blocks = self.weights = self.bytes = 0
        self._names: dict[str, str] = {}
        self._empty = not self.place.is_symlink() and self.place.is_dir() and not any(self.place.iterdir())
        if not self._empty:
            if self.place.exists() or self.place.is_symlink():
                raise InputError(f"{out}: exists already; extract into a new folder, or delete this one first")
            require_writable(self.place)
        if self.partial.exists():
            raise InputError(
                f"{self.partial}: exists; another extraction is writing there; if one was cut short instead, delete it"
            )

    def __enter__(self) -> BlockFolder:
        self.partial.mkdir()
        self._lines = tempfile.TemporaryFile("w+", encoding="utf-8", dir=self.partial)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with interrupts_held():
            self._lines.close()
            shutil.rmtree(self.partial, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """A folder for temporary files while blocks are made."""
        return self.partial

    def share(self, curvature: Curvature, target: Target, number: int) -> str:
        """Write a curvature that several blocks of a layer share, and return the name of its file."""
        name = f"{self._stem(target)}.{number}{CURVATURE_SUFFIX}"
        save_curvature(curvature, self.partial / name)
        self.bytes += (self.partial / name).stat().st_size
        return name

    def add(
        self, problem: PruningProblem, target: Target, first: int, damping: float, curvature: str | None = None
    ) -> None:
        """Write a block whose first weight is number ``first`` of the layer.

        ``curvature`` names the shared file that holds its H; None to store H in the block.
        """
        name = f"{self._stem(target)}.{first:0{len(str(target.numel - 1))}d}.npz"
        path = self.partial / name
        problem.save(path, curvature=curvature)
        block = ManifestBlock(name, content_of(path), target.tensor, first, problem.n, damping)
        with self._writing():
            self._lines.write(line_of(block) + "\n")
        self.blocks += 1
        self.weights += problem.n
        self.bytes += path.stat().st_size

    def finish(self, facts: Mapping[str, Any]) -> Path:
        """Write the manifest with these ``facts``, give the folder its name, and return the path of the manifest."""
        with self._writing():
            self._lines.seek(0)
        write_manifest(self.partial / NAME, facts, self._lines)
        self.bytes += (self.partial / NAME).stat().st_size
        with self._writing():
            if self._empty:
                self.place.rmdir()
            self.partial.rename(self.place)
        return self.place / NAME

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.place}: cannot be written ({error.strerror or error})") from None

    def _stem(self, target: Target) -> str:
        """The name of the tensor as the beginning of file names, different for every tensor."""
        if target.tensor not in self._names:
            stem = re.sub(r"[^A-Za-z0-9._-]", "_", target.tensor)
            taken = {name.lower() for name in self._names.values()}
            self._names[target.tensor] = f"{stem}-{len(taken)}" if stem.lower() in taken else stem
        return self._names[target.tensor]
