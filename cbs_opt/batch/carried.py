"""A block that has no file: the problem itself goes to the solver process, and with it the methods a user registered.

A block file would not do: it stores the factor of a curvature as gradients, and the last digits would be others.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbs_opt.kernel.method import MethodSpec
    from cbs_opt.kernel.problem import PruningProblem


@dataclass(frozen=True)
class Carried:
    """A problem on its way: its bytes, and the digest that tells it apart."""

    data: bytes
    content: str


def carried(problem: PruningProblem, registered: Sequence[MethodSpec] = ()) -> Carried:
    """A problem and methods as bytes; those of a user's own script travel with their code, as joblib sends them."""
    from joblib.externals.loky.cloudpickle_wrapper import dumps

    data: bytes = dumps((problem, tuple(registered)))
    return Carried(data, sha256(data).hexdigest())


def unpacked(data: bytes) -> PruningProblem:
    """The problem; the methods that came with it are known from now on."""
    from cbs_opt.evaluation.catalogue import methods, register

    problem: PruningProblem
    problem, specs = pickle.loads(data)
    for spec in specs:
        if spec.name not in methods():
            register(spec)
    return problem
