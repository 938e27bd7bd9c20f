"""Block files: a pruning problem without its pattern in an ``.npz`` archive, never with pickled objects.

====================  ==========================================================================
``w``                 (n,) trained weights
one of ``H``          (n, n) curvature, damping included
``G`` + ``damping``   (m, n) per-sample gradients, H = GᵀG/m + λI
``X`` + ``damping``   (m, n) layer inputs, H = XᵀX/m + λI
or ``curvature``      name of a curvature file in the same folder, ``….curvature.npz``, that holds one of the above
``rows``              optional, where the curvature is a matrix H: w holds this many rows, one after the other, each
                      with the curvature H of order n/rows, and rows do not interact
``g``, ``offset``     optional: (n,) first-order term; f(w̄)
``name``              optional text; control characters become spaces
====================  ==========================================================================

Other arrays in the file are ignored. The pattern is no part of a block, so that one block can be asked for many.

A curvature file stores once what many blocks share, as the rows of a layer share the Gram matrix of its inputs. It is
read once for all of them. It is no block itself, and where a folder stands for the blocks in it, it is left out.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from cbs_opt.errors import BlockFileError, CbsOptError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.arrays.validate import as_array
from cbs_opt.kernel.curvature import Curvature, DenseCurvature, RowsCurvature
from cbs_opt.kernel.curvature.samples import curvature_of_samples
from cbs_opt.kernel.files import read_arrays, write_whole

T = TypeVar("T")

SOURCES = ("H", "G", "X", "curvature")
FIELDS = ("w", *SOURCES, "damping", "rows", "g", "offset", "name")

SHARED = ("H", "G", "X", "damping")
"""The fields of a curvature file; other fields of a curvature, such as ``rows``, are stored in the block."""

CURVATURE_SUFFIX = ".curvature.npz"
"""The end of the name of every curvature file."""

MOST_BYTES = 2**29
"""Curvature files of up to so many bytes together stay in memory for the next blocks; the last one always does."""

AT_ONCE = 2**24
"""Files of up to so many bytes are read once, so that digest and content are those of the same bytes."""


def read_block(path: str | os.PathLike[str], content: str | None = None) -> dict[str, Any]:
    """What a block file holds, as ``PruningProblem`` takes it: ``w_bar``, ``curvature``, ``g``, ``offset``, ``name``.

    Parameters
    ----------
    path : path
        The file, ``.npz``.
    content : str, optional
        The digest that ``content_of`` returned for the file earlier; a file that has changed since is an error.

    Raises
    ------
    BlockFileError
        The file cannot be read as a block; the message names the file, the field and the offending entry.
    """
    file = Path(path)
    with _opened(file) as stream:
        if content is not None and _content(stream, file) != content:
            raise BlockFileError(
                f"{file}: is not what its manifest says, or not what it was when the batch began; "
                "extract the blocks again, or run the batch again"
            )
        arrays = _arrays(stream, file, FIELDS)
    with about(file):
        return _parts(arrays, file)


@contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which the message of every error of this package begins with the name of the file ``path``."""
    try:
        yield
    except CbsOptError as error:
        error.args = (f"{path}: {error}", *error.args[1:])
        raise


def block_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The block files that ``paths`` stand for: a folder stands for the .npz files in it, without curvature files."""
    files: list[Path] = []
    for path in map(Path, without_curvature(paths)):
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.glob("*.npz") if not file.name.endswith(CURVATURE_SUFFIX))
        if not inside:
            raise BlockFileError(f"{path}: the folder holds no .npz files; name block files, or a folder of them")
        files += inside
    return list(dict.fromkeys(files))


def without_curvature(paths: Iterable[T]) -> list[T]:
    """``paths`` without curvature files, which a shell's ``*.npz`` includes; all of them where no other is left."""
    everything = list(paths)
    return [path for path in everything if not str(path).endswith(CURVATURE_SUFFIX)] or everything


def write_block(
    path: str | os.PathLike[str],
    w_bar: Vector,
    curvature: Curvature,
    *,
    g: Vector | None = None,
    offset: float = 0.0,
    name: str = "",
    shared: str | os.PathLike[str] | None = None,
) -> None:
    """Write a block file; the factor A of a factored curvature is stored as gradients G = √m·A.

    Parameters
    ----------
    path : path
        The file, ``.npz``; an existing one is replaced.
    w_bar : array, shape (n,)
        The trained weights.
    curvature : Curvature
        H, of order n.
    g, offset, name
        As for ``PruningProblem``.
    shared : path, optional
        A file in the same folder, which ``save_curvature`` wrote with this curvature. The block then holds its name
        instead of the curvature.
    """
    stored = curvature.arrays()
    if shared is not None:
        named = _curvature_file(Path(path), Path(shared).name).name
        stored = {"curvature": named} | {field: value for field, value in stored.items() if field not in SHARED}
    arrays: dict[str, Any] = {"w": w_bar, **stored}
    if g is not None:
        arrays["g"] = g
    if offset:
        arrays["offset"] = offset
    if name:
        arrays["name"] = name
    write_whole(path, lambda stream: np.savez(stream, **arrays))


def save_curvature(curvature: Curvature, path: str | os.PathLike[str]) -> None:
    """Write a curvature file; for the rows of a layer it holds the one H that they share."""
    if not str(path).endswith(CURVATURE_SUFFIX):
        raise BlockFileError(f"{path}: no name for a curvature file; let it end in {CURVATURE_SUFFIX}")
    arrays = {field: value for field, value in curvature.arrays().items() if field in SHARED}
    write_whole(path, lambda stream: np.savez(stream, **arrays))


def read_npz(path: str | os.PathLike[str], fields: Sequence[str] | None = None) -> dict[str, Any]:
    """The arrays of an npz archive whose names are in ``fields`` (all of them by default); nothing is unpickled.

    Raises
    ------
    BlockFileError
        The file cannot be read; the message names it and says what to do.
    """
    file = Path(path)
    with _opened(file) as stream:
        return _arrays(stream, file, fields)


def content_of(path: str | os.PathLike[str]) -> str:
    """The digest that identifies a block: the SHA-256, in hex, of its file and of the curvature file that it names.

    A file that is no readable block has a digest, too.

    Raises
    ------
    BlockFileError
        There is no such file, or it cannot be opened.
    """
    return identify(path)[0]


def identify(path: str | os.PathLike[str]) -> tuple[str, int | None]:
    """The digest of a block, as ``content_of`` returns it, and its number of weights as a guess; None without one.

    The guess is made from the size of ``w`` in the archive's table of contents, without reading the block.
    """
    file = Path(path)
    with _opened(file) as stream:
        content = _content(stream, file)
        try:
            with zipfile.ZipFile(stream) as archive:
                return content, max(1, (archive.getinfo("w.npy").file_size - 128) // 8)
        except Exception:  # damaged bytes raise a dozen kinds; the reason is found when the block's turn comes
            return content, None


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """A file opened for reading; one of up to ``AT_ONCE`` bytes is a copy in memory."""
    try:
        with file.open("rb") as stream:
            small = os.fstat(stream.fileno()).st_size <= AT_ONCE
            yield io.BytesIO(stream.read()) if small else stream
    except FileNotFoundError:
        raise BlockFileError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise BlockFileError(f"{file}: is a folder; name a file in it") from None
    except OSError as error:
        raise BlockFileError(f"{file}: cannot be read ({error.strerror or error})") from None


def _arrays(stream: IO[bytes], file: Path, fields: Sequence[str] | None) -> dict[str, Any]:
    try:
        if not zipfile.is_zipfile(stream):
            raise BlockFileError(f"{file}: not an npz archive, or cut short; write it again with numpy.savez")
        return read_arrays(stream, fields)
    except BlockFileError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise BlockFileError(f"{file}: holds pickled objects, which are never loaded; save plain arrays") from None
        raise BlockFileError(f"{file}: cannot be read ({error}); write it again") from None
    except MemoryError as error:
        raise BlockFileError(f"{file}: does not fit into memory ({error})") from error
    except Exception as error:  # zipfile, zlib and numpy.lib.format raise a dozen kinds on damaged bytes
        raise BlockFileError(f"{file}: cannot be read ({error}); write it again") from None


def _content(stream: IO[bytes], file: Path) -> str:
    """The digest, as of ``content_of``, of the file that is open as ``stream``, which is left at its start."""
    stream.seek(0)
    own = hashlib.file_digest(stream, "sha256")  # type: ignore[arg-type]
    named = _named_curvature(stream)
    stream.seek(0)
    if named is None:
        return own.hexdigest()
    try:
        shared = _digest(*_identity(_curvature_file(file, named)))
    except (BlockFileError, OSError):
        shared = b"missing"
    return hashlib.sha256(own.digest() + shared).hexdigest()


def _parts(arrays: dict[str, Any], file: Path) -> dict[str, Any]:
    if "w" not in arrays and file.name.endswith(CURVATURE_SUFFIX):
        raise BlockFileError("is the curvature that blocks share, and no block; name a block beside it, or the folder")
    if "w" not in arrays:
        raise BlockFileError("w: is missing; a block needs the trained weights")
    name = _printable(str(arrays["name"]) if "name" in arrays else file.stem)
    offset = _scalar(arrays["offset"], "offset") if "offset" in arrays else 0.0
    curvature = _curvature(arrays, file)
    if "rows" in arrays:
        if not isinstance(curvature, DenseCurvature):
            raise BlockFileError("rows: is given, but the curvature is no matrix H; rows share an H of order n/rows")
        rows = _scalar(arrays["rows"], "rows")
        if not rows.is_integer():
            raise BlockFileError(f"rows: is {rows}; a whole number of rows is needed")
        curvature = RowsCurvature(curvature, int(rows))
    return {"w_bar": arrays["w"], "curvature": curvature, "g": arrays.get("g"), "offset": offset, "name": name}


def _curvature(arrays: dict[str, Any], file: Path) -> Curvature:
    """The curvature that the arrays of a block or of a curvature file define."""
    sources = [field for field in SOURCES if field in arrays]
    if len(sources) != 1:
        found = " and ".join(sources) if sources else "none of them"
        raise BlockFileError(f"a block needs exactly one of {', '.join(SOURCES[:-1])} and curvature; it has {found}")
    (source,) = sources
    if source == "curvature":
        return _CACHE.get(_curvature_file(file, str(arrays["curvature"])))
    if source == "H":
        return DenseCurvature(arrays["H"])
    if "damping" not in arrays:
        raise BlockFileError(f"damping: is missing; {source} needs it (0 for none)")
    return curvature_of_samples(
        as_array(arrays[source], source, 2), source, damping=_scalar(arrays["damping"], "damping")
    )


# ---------------------------------------------------------------- curvature files

Identity = tuple[str, int, int, int]
"""Path, inode, time of the last change in nanoseconds, and size: where one of them differs, the file is read again."""


class _CurvatureCache:
    """The curvatures of the files that blocks named last, up to ``MOST_BYTES`` of files together, and at least one."""

    def __init__(self) -> None:
        self._held: OrderedDict[Identity, Curvature] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: Path) -> Curvature:
        with self._lock:
            identity = _identity(file)
            if identity not in self._held:
                while self._held and sum(size for *_, size in self._held) + identity[-1] > MOST_BYTES:
                    self._held.popitem(last=False)
                self._held[identity] = self._read(file)
            self._held.move_to_end(identity)
            return self._held[identity]

    @staticmethod
    def _read(file: Path) -> Curvature:
        try:
            arrays = read_npz(file, SHARED)
            return _curvature(arrays, file)
        except CbsOptError as error:
            said = str(error).removeprefix(f"{file}: ")
            error.args = (f"curvature: {file.name}: {said}", *error.args[1:])
            raise


_CACHE = _CurvatureCache()


def _curvature_file(block: Path, name: str) -> Path:
    """The path of the curvature file called ``name`` beside ``block``; an error if there is none."""
    if not name.endswith(CURVATURE_SUFFIX) or set(name) & set("/\\:\0"):
        raise BlockFileError(
            f"curvature: is {_printable(name)!r}; give the bare name of a file …{CURVATURE_SUFFIX} in "
            "the block's folder"
        )
    file = block.parent / name
    try:
        there = file.is_file()
    except OSError:  # a name that no file can have
        there = False
    if not there:
        raise BlockFileError(
            f"curvature: {_printable(name)} is missing in {block.parent}; copy it there, beside the block"
        )
    return file


def _identity(file: Path) -> Identity:
    stat = file.stat()
    return str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4096)
def _digest(path: str, *identity: int) -> bytes:
    """The SHA-256 of a file; ``identity`` tells its versions apart, so that a changed file is read again."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _named_curvature(stream: IO[bytes]) -> str | None:
    """The name of the curvature file in a block; None where it names none, or where the bytes are damaged."""
    if isinstance(stream, io.BytesIO) and b"curvature.npy" not in stream.getvalue():
        return None
    try:
        stream.seek(0)
        named = read_arrays(stream, ("curvature",)).get("curvature")
        return None if named is None else str(named)
    except Exception:  # damaged bytes raise a dozen kinds; the bytes themselves are counted already
        return None


def _printable(name: str) -> str:
    """``name`` with spaces for control characters: a block's name must not move the cursor of a terminal."""
    return "".join(character if character.isprintable() else " " for character in name)


def _scalar(value: Any, field: str) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise BlockFileError(f"{field}: has shape {array.shape} and dtype {array.dtype}; one number is needed")
    return float(array.reshape(()))
