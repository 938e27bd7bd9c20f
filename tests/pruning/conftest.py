"""A few images for the small network with convolutions."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def conv_network(conv_network: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    model, x, y = conv_network
    return model, x[:12], y[:12]
