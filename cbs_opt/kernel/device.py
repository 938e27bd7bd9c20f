"""Where tensors live: 'cpu' unless 'cuda' is asked for; and how arrays become tensors.

What is proven is always evaluated in float64 on the CPU; only the Cholesky factorizations that prove the splittings of
a layer are made on the device, also in float64. So the device changes how long an answer takes and how its mask breaks
ties, but never what is claimed about it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError, UnavailableMethodError

if TYPE_CHECKING:
    import torch


def device_named(name: str) -> torch.device:
    """The torch device called ``name``: 'cpu', 'cuda' or 'cuda:1'. On the CPU, torch's own number of threads is used.

    Raises
    ------
    InputError
        ``name`` is no such name.
    UnavailableMethodError
        CUDA, or the CUDA device of that number, is not there.
    """
    import torch

    kind, _, index = str(name).partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise InputError(f"device: is {name!r}; give 'cpu', 'cuda' or 'cuda:0'")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise UnavailableMethodError(f"device: {name} is asked for, but torch finds no CUDA device here; use 'cpu'")
        if index and int(index) >= torch.cuda.device_count():
            raise UnavailableMethodError(
                f"device: {name} is asked for, but there are {torch.cuda.device_count()} "
                "CUDA devices; use a lower number"
            )
    return torch.device(name)


def tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """``array`` as a tensor; on the CPU they share memory, so never write to the tensor of a read-only array."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array)).to(device)


def times_own_transpose(B: torch.Tensor) -> torch.Tensor:
    """B Bᵀ, symmetric, for ``B`` of shape (m, c); on the CPU with half the work of a general product."""
    import torch

    if B.is_cuda:
        return B @ B.T
    rows = B.numpy()
    return torch.from_numpy(rows @ rows.T)
