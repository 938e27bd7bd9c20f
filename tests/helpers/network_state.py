"""What a network holds, to be compared with what it holds later."""

from __future__ import annotations

import torch


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all its tensors, by name."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
