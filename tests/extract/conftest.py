"""Small networks and data to cut into blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cbs_opt.network import Data, digits_data, load_network


@pytest.fixture(scope="session")
def digits() -> Data:
    return digits_data()


@pytest.fixture
def digits_network() -> Any:
    return load_network("digits")


@pytest.fixture
def conv_network() -> tuple[Any, Any, Any]:
    """conv(1→4) – BN – ReLU – grouped conv(4→4, 2 groups) – ReLU – mean – linear(4→3), and 60 images 6×6."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    rng = np.random.default_rng(5)
    return model, rng.normal(size=(60, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 60)
