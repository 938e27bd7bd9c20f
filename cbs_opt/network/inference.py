"""Lets functions be called inside ``torch.inference_mode()``, whose tensors track neither gradients nor changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run as if it were called outside ``torch.inference_mode()`` and ``torch.no_grad()``."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        with torch.inference_mode(False):
            return function(*args, **kwargs)

    return run
