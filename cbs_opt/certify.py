"""Bound and gap of a mask from any tool, and the files masks come in.

A mask file is an ``.npz`` or ``.safetensors`` whose array ``mask`` (or whose only array) holds one boolean
(or 0/1) per weight of the block, 1 keeps. Weights likewise: ``weights``, ``w`` or the only array.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.bound import lower_bound
from cbs_opt.errors import InputError, PatternError
from cbs_opt.patterns import Cardinality, Pattern
from cbs_opt.problem import PruningProblem
from cbs_opt.result import finite_or_none, relative_gap
from cbs_opt.run import solve
from cbs_opt.update import obs_update
from cbs_opt.validate import Mask, Vector, as_array, as_mask

TIME_LIMIT = 10.0
BRANCHING_LIMIT = 200
SUFFIXES = (".npz", ".safetensors")


@dataclass(frozen=True)
class Certificate:
    """What is proven about a mask, against every mask with at least as many zeros.

    Parameters
    ----------
    selection_objective, objective : float
        f with the kept weights as trained, and after the OBS update.
    given_objective, given_gap : float or None
        f of the weights that came with the mask, and its gap.
    bound : float
        ≤ f(w) for every w with at least ``pruned`` zeros.
    bound_method : str
    gap : float
        (objective − bound)/|objective|, after the update.
    seconds : float
        Wall time of the bound.
    notes : tuple of str
    """

    name: str
    n: int
    pruned: int
    selection_objective: float
    objective: float
    given_objective: float | None
    bound: float
    bound_method: str
    gap: float
    given_gap: float | None
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        values = dict(self.__dict__, notes=list(self.notes))
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in values.items()}


def certify(
    problem: PruningProblem,
    mask: Any,
    weights: Any = None,
    *,
    time_limit: float = TIME_LIMIT,
    pattern: Pattern | None = None,
) -> Certificate:
    """Bound the best possible loss at the mask's own number of zeros, and judge the mask by it.

    Parameters
    ----------
    problem : PruningProblem
        Its pattern, if it has one, plays no part.
    mask : boolean array, shape (n,)
        1 keeps.
    weights : array, shape (n,), optional
        The pruned weights of the tool that made the mask; judged as they are, too.
    time_limit : float
        Seconds for branch and bound, which tightens the bound of problems up to ``BRANCHING_LIMIT`` weights;
        0 takes the bound without branching.
    pattern : Pattern, optional
        Judge the mask against all masks of this pattern, in which it must lie; left out, against all masks with as many
        zeros.

    Raises
    ------
    InputError
        A mask or weights of the wrong shape, NaN, or a weight that is not zero where the mask prunes.
    BoundViolationError
        The bound lies above the loss of this mask: a bug in the bound.
    """
    z = as_mask(mask, "mask", problem.n)
    given = None if weights is None else _pruned_weights(problem, z, weights)
    problem = problem.within(pattern or Cardinality(problem.n, int(problem.n - z.sum())))
    if not problem.Z.contains(z):
        raise PatternError(f"mask: is outside the pattern ({problem.Z}); judge it by a pattern that it satisfies")
    started = time.perf_counter()
    bound, bound_method = _bound(problem, time_limit)
    seconds = time.perf_counter() - started
    updated = obs_update(problem, z)
    objective = problem.objective(updated)
    given_objective = None if given is None else problem.objective(given)
    return Certificate(
        name=problem.name,
        n=problem.n,
        pruned=int(problem.n - z.sum()),
        selection_objective=problem.objective(np.where(z, problem.w_bar, 0.0)),
        objective=objective,
        given_objective=given_objective,
        bound=bound,
        bound_method=bound_method,
        gap=relative_gap(objective, bound, problem.round_off(updated)),
        given_gap=(
            None
            if given is None or given_objective is None
            else relative_gap(given_objective, bound, problem.round_off(given))
        ),
        seconds=seconds,
        notes=problem.curvature.notes,
    )


def _bound(problem: PruningProblem, time_limit: float) -> tuple[float, str]:
    if time_limit > 0 and problem.n <= BRANCHING_LIMIT and isinstance(problem.Z, Cardinality):
        return solve(problem, "bnb", time_limit=time_limit).bound, "bnb"
    bound = lower_bound(problem)
    return bound.value, bound.method


def _pruned_weights(problem: PruningProblem, z: Mask, weights: Any) -> Vector:
    w = as_array(weights, "weights", 1)
    if len(w) != problem.n:
        raise InputError(f"weights: has {len(w)} entries, but there are {problem.n} weights; they must agree")
    wrong = np.flatnonzero(~z & (w != 0))
    if wrong.size:
        raise InputError(
            f"weights: entry {wrong[0]} is {w[wrong[0]]:.6g}, but the mask prunes it; set it to zero or keep it"
        )
    return w


# ---------------------------------------------------------------- files


def save_mask(path: str | os.PathLike[str], mask: Mask, weights: Vector) -> None:
    """Write ``mask`` (booleans) and ``weights`` (float64), as .npz or .safetensors, whole or not at all."""
    from cbs_opt.files import write_whole

    arrays = {"mask": np.ascontiguousarray(mask), "weights": np.ascontiguousarray(weights)}
    if suffix_of(path) == ".npz":
        write_whole(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]
        return
    from safetensors.numpy import save

    write_whole(path, lambda stream: stream.write(save(arrays)))


def load_mask(path: str | os.PathLike[str], n: int) -> Mask:
    """The mask of ``n`` weights in a file.

    Raises
    ------
    InputError
        Naming the file, the field and what is wrong with it.
    """
    file = Path(path)
    field, values = _pick(file, ("mask",))
    return as_mask(values, f"{file}: {field}", n)


def load_weights(path: str | os.PathLike[str], n: int, *, required: bool = True) -> Vector | None:
    """The ``n`` weights in a file; None when they are not ``required`` and the file has no array of that name."""
    file = Path(path)
    if not required:
        arrays = _arrays(file)
        found = "weights" if "weights" in arrays else None
        if found is None:
            return None
        field, values = found, arrays[found]
    else:
        field, values = _pick(file, ("weights", "w"))
    weights = as_array(values, f"{file}: {field}", 1)
    if len(weights) != n:
        raise InputError(f"{file}: {field}: has {len(weights)} entries, but the block has {n} weights")
    return weights


def _pick(file: Path, names: Sequence[str]) -> tuple[str, Any]:
    """The array called by one of ``names``, or the only one."""
    arrays = _arrays(file)
    for name in names:
        if name in arrays:
            return name, arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.items()))
    holds = ", ".join(sorted(arrays)) or "nothing"
    raise InputError(f"{file}: holds {holds}; give it one array, or call the right one {names[0]}")


def _arrays(file: Path) -> dict[str, Any]:
    if suffix_of(file) == ".npz":
        from cbs_opt.blockfile import read_npz

        return read_npz(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as safetensors ({error}); write it again") from None


def suffix_of(path: str | os.PathLike[str]) -> str:
    """.npz or .safetensors; raises for any other."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{file}: the suffix {suffix!r} names no format; use {' or '.join(SUFFIXES)}")
    return suffix
