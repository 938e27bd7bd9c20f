"""Blocks in any number: chunks of 32 weights of the embedded digits network, by the Fisher of ever new samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cbs_opt import PruningProblem
from cbs_opt.collect.gradients import gradients
from cbs_opt.network.load import load_network
from cbs_opt.network.reference.digits import digits_parts

N = 32
SAMPLES = 500
DAMPENING_FRAC = 1e-2
LAYERS = ("fc1.weight", "fc2.weight", "fc3.weight")


def make_blocks(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """``count`` block files of 32 weights, each with the empirical Fisher of 500 training samples drawn for it.

    λ is a hundredth of the mean diagonal of the layer's Fisher, as in a study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = load_network("digits")
    x, y = digits_parts()["train"]
    weights = {name: model.get_parameter(name).detach().double().flatten().numpy() for name in LAYERS}
    collected = gradients(model, x, y, {name: np.arange(len(weights[name])) for name in LAYERS})
    chunks = [(name, start) for name in LAYERS for start in range(0, len(weights[name]) - N + 1, N)]
    draw = np.random.default_rng(seed)
    files: list[Path] = []
    for number in range(count):
        name, start = chunks[number % len(chunks)]
        chosen, piece = draw.choice(len(y), SAMPLES, replace=False), slice(start, start + N)
        problem = PruningProblem.from_gradients(
            weights[name][piece],
            collected[name].rows[chosen, piece],
            damping=DAMPENING_FRAC * collected[name].mean_square,
            name=f"{name}[{start}:{start + N}] {number}",
        )
        files.append(folder / f"b{number:05}.npz")
        problem.save(files[-1])
    return files
