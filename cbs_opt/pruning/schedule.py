"""How the sparsity grows over the stages of a multi-stage pruning.

With r the final sparsity, N stages and u = t/N for stage t = 1 … N:

    linear       r·u
    exponential  1 − (1 − r)ᵘ         the kept share shrinks by the same factor each stage
    cubic        r·(1 − (1 − u)³)     Zhu & Gupta, 2017 (arXiv:1710.01878)

All of them reach r at u = 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cbs_opt.errors import InputError, unknown_name

SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda r, u: r * u,
    "exponential": lambda r, u: 1.0 - (1.0 - r) ** u,
    "cubic": lambda r, u: r * (1.0 - (1.0 - u) ** 3),
}


def sparsities(final: float, stages: int, schedule: str, settle: int = 0) -> list[float]:
    """The sparsity of each stage; ``settle`` more stages follow at the final one.

    Raises
    ------
    UnknownMethodError, InputError
        An unknown schedule, fewer than one stage, or a sparsity outside [0, 1].
    """
    if schedule not in SCHEDULES:
        raise unknown_name("schedule", schedule, list(SCHEDULES))
    for name, number, least in (("stages", stages, 1), ("settle", settle, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise InputError(f"{name}: is {number!r}; a whole number of at least {least} is needed")
    if isinstance(final, bool) or not isinstance(final, (int, float, np.number)) or not 0.0 <= final <= 1.0:
        raise InputError(f"sparsity: is {final!r}; a number in [0, 1] is needed (0.9 prunes 90 % of the weights)")
    grow = SCHEDULES[schedule]
    return [grow(final, t / stages) for t in range(1, stages)] + [final] * (1 + settle)
