"""Certificate files: an ``.npz`` of plain arrays, format described in docs/certificates.md.

Reading is bounded: the header of every array is checked against what it has to be before any of its data is read.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.files import write_whole
from cbs_opt.proof.record import MOST_ENTRIES, Proof, Tree
from cbs_opt.validate import as_mask

VERSION = 1

MOST_DUAL_ENTRIES = 2**31
"""Most weights, and most entries of a dual vector, that a file may claim."""

TREE = ("parent", "side", "branch", "point", "fixed", "D", "w", "w_low")


def save_proof(proof: Proof, path: str | os.PathLike[str]) -> None:
    """Write ``proof``, whole or not at all."""
    arrays: dict[str, Any] = {
        "certificate": np.int64(VERSION),
        "digest": np.frombuffer(bytes.fromhex(proof.digest), dtype=np.uint8),
        "prune": np.int64(proof.prune),
        "keep": proof.keep,
        "forbid": proof.forbid,
        "mask": proof.mask,
        "weights": proof.weights,
        "bound": np.float64(proof.bound),
    }
    if proof.tree is not None:
        arrays |= {name: getattr(proof.tree, name) for name in TREE}
    else:
        arrays["alpha"] = proof.alpha
    write_whole(path, lambda stream: np.savez_compressed(stream, **arrays))


def load_proof(path: str | os.PathLike[str]) -> Proof:
    """Read a certificate; nothing it says is verified here but its form.

    Raises
    ------
    InputError
        Naming the file and what is wrong with it.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: is a folder; name a file in it" if file.is_dir() else f"{file}: no such file")
    try:
        with zipfile.ZipFile(file) as archive:
            return _read(_Reader(archive))
    except CbsOptError as error:
        raise InputError(f"{file}: {error}") from None
    except Exception as error:  # zipfile, zlib and numpy.lib.format raise a dozen kinds on damaged bytes
        raise InputError(f"{file}: cannot be read as a certificate ({error}); make it again") from None


def _read(reader: _Reader) -> Proof:
    if "certificate" not in reader.names:
        raise InputError("is no certificate; `cbs-opt solve BLOCK --certificate FILE` writes one")
    version = int(reader.array("certificate", "<i8", ()))
    if version != VERSION:
        raise InputError(f"has version {version}, and this program reads version {VERSION}; make it again")
    n = reader.length("mask", MOST_DUAL_ENTRIES)
    if n == 0:
        raise InputError("mask: is empty")
    masks = {name: as_mask(reader.array(name, "|b1", (n,)), name, n) for name in ("mask", "keep", "forbid")}
    tree: Tree | None = None
    alpha: NDArray[np.float64] | None = None
    if "alpha" in reader.names:
        alpha = reader.array("alpha", "<f8", (reader.length("alpha", MOST_DUAL_ENTRIES),))
    else:
        N = reader.length("parent", MOST_ENTRIES // n + 1)
        M = reader.rows("D", MOST_ENTRIES // n + 1)
        tree = Tree(
            parent=reader.array("parent", "<i8", (N,)),
            side=reader.array("side", "|i1", (N,)),
            branch=reader.array("branch", "<i8", (N,)),
            point=reader.array("point", "<i8", (N,)),
            fixed=reader.array("fixed", "|i1", (N, n)),
            D=reader.array("D", "<f8", (M, n)),
            w=reader.array("w", "<f8", (M, n)),
            w_low=reader.array("w_low", "<f8", (M, n)),
        )
    proof = Proof(
        prune=int(reader.array("prune", "<i8", ())),
        weights=reader.array("weights", "<f8", (n,)),
        bound=float(reader.array("bound", "<f8", ())),
        digest=reader.array("digest", "|u1", (32,)).tobytes().hex(),
        tree=tree,
        alpha=alpha,
        **masks,
    )
    _ = proof.pattern  # raises for one that nothing satisfies
    return proof


class _Reader:
    """Arrays of an npz archive, of the dtype and shape they have to be, or one clear sentence."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}

    def length(self, name: str, most: int) -> int:
        """The length of a vector, from its header."""
        shape = self._shape(name)
        if len(shape) != 1 or shape[0] > most:
            raise InputError(f"{name}: has shape {shape}; a vector of at most {most:,} entries is needed")
        return shape[0]

    def rows(self, name: str, most: int) -> int:
        """The rows of a matrix, from its header."""
        shape = self._shape(name)
        if len(shape) != 2 or shape[0] > most:
            raise InputError(f"{name}: has shape {shape}; a matrix of at most {most:,} rows is needed")
        return shape[0]

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array, native byte order, C order."""
        with self._open(name) as stream:
            found, fortran, kind = _header(stream)
            if found != shape or kind != np.dtype(dtype):
                needed = f"{shape} and {np.dtype(dtype)} are needed"
                raise InputError(f"{name}: has shape {found} and dtype {kind}; {needed}")
            count = int(np.prod(shape, dtype=np.int64))
            data = stream.read(count * kind.itemsize)
            if len(data) != count * kind.itemsize or stream.read(1):
                raise InputError(f"{name}: is cut short, or too long")
        if kind.kind == "b" and max(data, default=0) > 1:
            raise InputError(f"{name}: holds bytes other than 0 and 1")
        array = np.frombuffer(data, dtype=kind).reshape(shape, order="F" if fortran else "C")
        return np.array(array, dtype=kind.newbyteorder("="), order="C")

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._open(name) as stream:
            return _header(stream)[0]

    def _open(self, name: str) -> IO[bytes]:
        if name not in self.names:
            raise InputError(f"{name}: is missing")
        return self._archive.open(f"{name}.npy")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise InputError(f"npy format {version[0]}.{version[1]} is not read; save plain arrays")
