"""Blocks without a file: the problem itself is sent to the solver process, with the methods that a user registered.

It is not sent as a block file, which stores the factor of a curvature as gradients and so changes its last digits.
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
    """A problem as bytes to be sent, and the digest that identifies it."""

    data: bytes
    content: str


def carried(problem: PruningProblem, registered: Sequence[MethodSpec] = ()) -> Carried:
    """A problem and methods as bytes; methods that a user's script defines are sent with their code, as joblib does."""
    from joblib.externals.loky.cloudpickle_wrapper import dumps

    data: bytes = dumps((problem, tuple(registered)))
    return Carried(data, sha256(data).hexdigest())


def unpacked(data: bytes) -> PruningProblem:
    """The problem in ``data``, which ``carried`` made; the methods that came with it are registered."""
    from cbs_opt.evaluation.catalogue import methods, register

    problem: PruningProblem
    problem, specs = pickle.loads(data)
    for spec in specs:
        if spec.name not in methods():
            register(spec)
    return problem
