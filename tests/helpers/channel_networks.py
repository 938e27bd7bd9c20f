"""Small networks, one for each way in which channels are coupled, with random weights and statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """stem(3→6) – x + conv(6→5)–BN–conv(5→6) – mean – linear(6→4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.inner = nn.Conv2d(6, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.outer = nn.Conv2d(5, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.stem(x))
        x = x + self.outer(torch.sigmoid(self.norm(self.inner(x))))
        return self.head(x.mean(dim=(2, 3)))


class Concatenated(nn.Module):
    """Two branches side by side: conv(3→4) and conv(3→5), read together by conv(9→4), with a gate on its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.both = nn.Conv2d(9, 4, 1)
        self.squeeze, self.excite = nn.Linear(4, 3), nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.gelu(self.both(torch.cat([self.left(x), self.right(x)], dim=1)))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean(dim=(2, 3))))))
        x = x * gate[:, :, None, None]
        return self.head(x.amax(dim=(2, 3)))


class Assorted(nn.Module):
    """Changes in place, borders, shuffled pixels, a maximum with its position, and a softmax over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(2, 5, 3)
        self.mixed, self.head = nn.Conv2d(5, 4, 1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(functional.pad(self.first(x), (0, 2, 1, 0)), inplace=True)
        x = self.second(functional.pixel_shuffle(x, 2))
        x += 0.5
        x = self.mixed(functional.adaptive_max_pool2d(x, 1))
        return self.head(torch.softmax(x, dim=1).flatten(1))


class Attention(nn.Module):
    """Four heads of queries, two of keys and values, 3 wide each, with their own normalization (as in Qwen 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(8, 12), nn.Linear(8, 6)
        self.v_proj, self.o_proj = nn.Linear(8, 6), nn.Linear(12, 8)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.rand(3) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = self.norm(x)

        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.view(*y.shape[:-1], -1, 3).transpose(1, 2)

        def scaled(y: torch.Tensor) -> torch.Tensor:
            return self.scale * (y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + 1e-6))

        q, k, v = scaled(heads(self.q_proj(normal))), scaled(heads(self.k_proj(normal))), heads(self.v_proj(normal))
        k, v = (part.repeat_interleave(2, dim=1) for part in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.o_proj(mixed)


def plain() -> nn.Module:
    """linear(5→7) – BN – linear(7→6) – LayerNorm – linear(6→3)."""
    return nn.Sequential(
        nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 6), nn.LayerNorm(6), nn.Linear(6, 3)
    )


def depthwise() -> nn.Module:
    """conv(3→6) – BN – depthwise(6) – conv(6→4) – linear."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.PReLU(6),
        nn.Conv2d(6, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def grouped() -> nn.Module:
    """conv(3→6) – grouped(6→9, 3 groups) – GroupNorm(3) – conv(9→4) – linear."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(6, 9, 3, padding=1, groups=3),
        nn.GroupNorm(3, 9),
        nn.Conv2d(9, 4, 1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 9, 3),
    )


def flattened() -> nn.Module:
    """conv(3→5) on 6×6 – max pooling to 3×3 – flatten – linear(45→4) – linear(4→2)."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(45, 4),
        nn.ReLU(),
        nn.Linear(4, 2),
    )


IMAGES, VECTORS, SEQUENCES = (3, 6, 6), (5,), (7, 8)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (plain, VECTORS),
    "depthwise": (depthwise, IMAGES),
    "grouped": (grouped, IMAGES),
    "flattened": (flattened, IMAGES),
    "residual": (Residual, IMAGES),
    "concatenated": (Concatenated, IMAGES),
    "assorted": (Assorted, IMAGES),
    "attention": (Attention, SEQUENCES),
}


def made(name: str, seed: int = 0, samples: int = 40) -> tuple[nn.Module, Any]:
    """A network in eval mode, none of whose numbers is a default, and samples."""
    build, shape = NETWORKS[name]
    torch.manual_seed(seed)
    model = build().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    return model, np.random.default_rng(seed).normal(size=(samples, *shape)).astype(np.float32)
