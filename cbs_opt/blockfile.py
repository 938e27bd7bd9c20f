"""Block files: one pruning problem in a ``.npz``, no pickle.

====================  ==========================================================================
``w``                 (n,) trained weights
one of ``H``          (n, n) curvature, as it is
``G`` + ``damping``   (m, n) per-sample gradients, H = GᵀG/m + λI
``X`` + ``damping``   (m, n) layer inputs, H = XᵀX/m + λI
``g``, ``offset``     optional: (n,) first-order term; f(w̄)
``name``              optional text; control characters become spaces
====================  ==========================================================================

Other arrays are left alone. The pattern is not part of a block: it is what is asked of it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.curvature import DenseCurvature, FactorCurvature
from cbs_opt.errors import BlockFileError, CbsOptError
from cbs_opt.files import write_whole
from cbs_opt.problem import PruningProblem

SOURCES = ("H", "G", "X")
FIELDS = ("w", *SOURCES, "damping", "g", "offset", "name")


def load_block(path: str | os.PathLike[str]) -> PruningProblem:
    """Read a block file.

    Raises
    ------
    BlockFileError
        Naming the file, the field and the offending entry.
    """
    file = Path(path)
    arrays = read_npz(file, FIELDS)
    try:
        return _problem(arrays, file.stem)
    except BlockFileError as error:
        raise BlockFileError(f"{file}: {error}") from None
    except CbsOptError as error:
        # The class tells what kind of trouble it is, the sentence gains the file.
        error.args = (f"{file}: {error}", *error.args[1:])
        raise


def block_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files meant by ``paths``: a folder stands for the .npz files in it."""
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(path.glob("*.npz"))
        if not inside:
            raise BlockFileError(f"{path}: the folder holds no .npz files; name block files, or a folder of them")
        files += inside
    return list(dict.fromkeys(files))


def save_block(problem: PruningProblem, path: str | os.PathLike[str]) -> None:
    """Write a block file; the factor of a factored curvature is saved as gradients G = √m·A."""
    curvature = problem.curvature
    arrays: dict[str, Any] = {"w": problem.w_bar}
    if isinstance(curvature, FactorCurvature):
        arrays["G"] = curvature.A * np.sqrt(len(curvature.A))
        arrays["damping"] = curvature.damping
    else:
        arrays["H"] = curvature.dense()
    if problem.g is not None:
        arrays["g"] = problem.g
    if problem.offset:
        arrays["offset"] = problem.offset
    if problem.name:
        arrays["name"] = problem.name
    write_whole(path, lambda stream: np.savez(stream, **arrays))


def read_npz(path: str | os.PathLike[str], fields: Sequence[str] | None = None) -> dict[str, Any]:
    """The arrays of an npz archive that are called ``fields`` (all of them by default), never unpickled.

    Raises
    ------
    BlockFileError
        Naming the file and what to do.
    """
    file = Path(path)
    if not file.exists():
        raise BlockFileError(f"{file}: no such file")
    if file.is_dir():
        raise BlockFileError(f"{file}: is a folder; name a file in it")
    try:
        with file.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise BlockFileError(f"{file}: not an npz archive, or cut short; write it again with numpy.savez")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {field: archive[field] for field in archive.files if fields is None or field in fields}
    except BlockFileError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise BlockFileError(f"{file}: holds pickled objects, which are never loaded; save plain arrays") from None
        raise BlockFileError(f"{file}: cannot be read ({error}); write it again") from None
    except Exception as error:  # zipfile, zlib and numpy.lib.format raise a dozen kinds on damaged bytes
        raise BlockFileError(f"{file}: cannot be read ({error}); write it again") from None


def _problem(arrays: dict[str, Any], stem: str) -> PruningProblem:
    if "w" not in arrays:
        raise BlockFileError("w: is missing; a block needs the trained weights")
    sources = [field for field in SOURCES if field in arrays]
    if len(sources) != 1:
        found = " and ".join(sources) if sources else "none of them"
        raise BlockFileError(f"a block needs exactly one of H, G and X; it has {found}")
    (source,) = sources
    name = _printable(str(arrays["name"]) if "name" in arrays else stem)
    g = arrays.get("g")
    offset = _scalar(arrays["offset"], "offset") if "offset" in arrays else 0.0
    if source == "H":
        problem = PruningProblem(arrays["w"], DenseCurvature(arrays["H"]), g=g, offset=offset, name=name)
    else:
        if "damping" not in arrays:
            raise BlockFileError(f"damping: is missing; {source} needs it (0 for none)")
        damping = _scalar(arrays["damping"], "damping")
        if source == "G":
            problem = PruningProblem.from_gradients(arrays["w"], arrays["G"], damping=damping, g=g, name=name)
        else:
            problem = PruningProblem.from_activations(arrays["w"], arrays["X"], damping=damping, name=name)
        if offset or (source == "X" and g is not None):
            problem = PruningProblem(problem.w_bar, problem.curvature, g=g, offset=offset, name=name)
    return problem


def _printable(name: str) -> str:
    """``name`` with spaces for control characters: a block's name must not move the cursor of a terminal."""
    return "".join(character if character.isprintable() else " " for character in name)


def _scalar(value: Any, field: str) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise BlockFileError(f"{field}: has shape {array.shape} and dtype {array.dtype}; one number is needed")
    return float(array.reshape(()))
