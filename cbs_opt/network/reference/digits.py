"""The embedded network: a small MLP on scikit-learn's handwritten digits, and how it was trained.

64 → 32 → 16 → 10 with ReLU and biases (the biases are never pruned), inputs 8 × 8 pixels divided by 16.
``python -m cbs_opt.network.reference.digits FILE`` trains it again, from a fixed seed on one thread, and writes the
weights that are shipped beside this file.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

SEED = 0
STEPS = 400
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-3
"""ℓ2 penalty, chosen on the validation part: it keeps the training loss, and with it the Fisher, away from zero."""


def digits_mlp() -> torch.nn.Module:
    """The untrained network."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(64, 32),
            relu1=nn.ReLU(),
            fc2=nn.Linear(32, 16),
            relu2=nn.ReLU(),
            fc3=nn.Linear(16, 10),
        )
    )


def digits_weights() -> dict[str, torch.Tensor]:
    """The shipped weights, float32."""
    from safetensors.torch import load

    return dict(load(resources.files("cbs_opt.network.reference").joinpath("digits_mlp.safetensors").read_bytes()))


@cache
def digits_parts() -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The 1797 images as 'train' (60 %), 'validation' (20 %) and 'test' (20 %), each (x, y).

    The split is stratified: within every class, in the order of scikit-learn, a permutation drawn from
    ``numpy.random.default_rng(0)`` is cut at 60 % and 80 %. x has shape (m, 64), in [0, 1].
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(SEED)
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": [], "test": []}
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = (round(0.6 * len(members)), round(0.8 * len(members)))
        for part, chosen in zip(parts.values(), np.split(members, cuts), strict=True):
            part.append(chosen)
    x, y = (images / 16).astype(np.float32), labels.astype(np.int64)
    order = {name: np.sort(np.concatenate(part)) for name, part in parts.items()}
    return {name: (x[chosen], y[chosen]) for name, chosen in order.items()}


def train() -> dict[str, torch.Tensor]:
    """Train from the fixed seed, by full-batch Adam in float64 on one thread; returns float32 weights by name.

    Full batches in float64 make the result depend as little as possible on the order of summation, and
    so on the processor.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = digits_mlp().double()
        x, y = (torch.from_numpy(part) for part in digits_parts()["train"])
        x = x.double()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    finally:
        torch.set_num_threads(threads)
    return {name: tensor.float() for name, tensor in model.state_dict().items()}


def main() -> None:
    """Write the trained weights to the file named on the command line."""
    from safetensors.torch import save

    from cbs_opt.kernel.files import write_whole

    payload = save(train(), metadata={"network": "digits", "trained_by": "python -m cbs_opt.network.reference.digits"})
    write_whole(sys.argv[1], lambda stream: stream.write(payload))


if __name__ == "__main__":
    main()
