"""Networks, their weights and samples: loads them, runs them in batches, and finds the layers that can be pruned."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbs_opt.network.data import Data, digits_data, load_data
    from cbs_opt.network.load import load_network
    from cbs_opt.network.samples import accuracy

# Where each name lives; imported on first use, so that a part of the room can be had without the others.
_HOME = {
    "Data": "data",
    "accuracy": "samples",
    "digits_data": "data",
    "load_data": "data",
    "load_network": "load",
}

__all__ = ["Data", "accuracy", "digits_data", "load_data", "load_network"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
