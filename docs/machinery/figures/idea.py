"""The idea in one picture: two weights that cancel one another go together, and the others are re-tuned.

Four inputs of one output, of which the first two carry nearly the same signal with weights of opposite sign. Pruning
two of the four by size keeps the pair and loses what the output needs; the best two to prune are the pair. The masks,
the re-tuned weights and the losses are computed by the package.
"""

from __future__ import annotations

import numpy as np

import cbs_opt

from .canvas import BLUE, GREEN, ORANGE, Canvas

TITLE = "Weights that cancel one another are removed together, and the others are re-tuned"
WEIGHTS = np.array([1.0, -0.9, 0.55, 0.45])
SAMPLES = 400


def problem() -> cbs_opt.PruningProblem:
    """Two of four weights have to go."""
    rng = np.random.default_rng(1)
    common, third, fourth = rng.normal(size=(3, SAMPLES))
    X = np.column_stack([common, common + 0.15 * rng.normal(size=SAMPLES), third + 0.3 * common, fourth + 0.3 * third])
    return cbs_opt.PruningProblem.from_activations(WEIGHTS, X, damping=1e-3).pruning(2)


def signals() -> list[np.ndarray]:
    """The four inputs as curves: the first two nearly alike."""
    t = np.linspace(0, 1, 60)
    common = np.sin(9 * t) + 0.5 * np.sin(23 * t + 1)
    return [common, common + 0.12 * np.sin(40 * t), np.sin(6 * t + 2) + 0.4 * np.cos(31 * t), np.cos(13 * t + 1)]


def draw(width: float) -> str:
    """The picture at ``width``."""
    block = problem()
    lost = block.objective(np.zeros(block.n))
    by_size, best = (cbs_opt.solve(block, method) for method in ("magnitude", "bnb"))
    columns = [
        ("trained", WEIGHTS, np.ones(4, bool), "loss 0", BLUE),
        ("the smallest go", by_size.weights, by_size.mask, f"loses {by_size.objective / lost:.0%}", ORANGE),
        ("the pair that cancels goes", best.weights, best.mask, f"loses {best.objective / lost:.1%}", GREEN),
    ]
    canvas, small = Canvas(width, TITLE), width < 500
    size = 12 if small else 14
    label, row = (62.0, 46.0) if small else (150.0, 52.0)
    step, top = (width - label) / 3, 3.2 * size + 8
    canvas.paragraph(0, 2, label - 4, "inputs" if small else "inputs of one output", size=size, look="soft")
    for place, signal in enumerate(signals()):
        middle = top + row * (place + 0.5)
        across = np.linspace(0, label - 16, signal.size)
        points = [(x, middle - 0.2 * row * y) for x, y in zip(across.round(1), signal.round(2), strict=True)]
        canvas.line(*[(float(x), round(float(y), 1)) for x, y in points])
    for number, (title, weights, mask, loss, colour) in enumerate(columns):
        left = label + number * step
        zero = left + step / 2
        canvas.paragraph(zero, 2, step - 8, title, size=size, look="bold", anchor="middle")
        canvas.line((zero, top), (zero, top + 4 * row))
        for place, (weight, kept) in enumerate(zip(weights, mask, strict=True)):
            _bar(canvas, zero, top + row * (place + 0.5), weight, bool(kept), 0.36 * step, colour, size)
        canvas.text(zero, top + 4 * row + 1.5 * size, loss, size=size + 1, look="bold", anchor="middle")
    note = (
        "Inputs 1 and 2 carry nearly the same signal, and their weights have opposite signs: together they do next to "
        "nothing. Loss relative to removing all four weights; the last column is proven to be the least."
    )
    canvas.paragraph(0, top + 4 * row + 2.2 * size, width, note, size=size - 1, look="soft")
    return canvas.svg()


def _bar(
    canvas: Canvas, zero: float, middle: float, weight: float, kept: bool, reach: float, colour: str, size: float
) -> None:
    """One weight: a bar from zero with its number, or a cross where it is pruned."""
    if not kept:
        canvas.text(zero, middle + 0.35 * size, "✕", size=size + 2, look="soft", anchor="middle")
        return
    length = abs(weight) * reach
    left = zero if weight > 0 else zero - length
    canvas.add(
        f'<rect x="{left:.1f}" y="{middle - 9:g}" width="{length:.1f}" height="18" rx="3" fill="{colour}"/>', middle + 9
    )
    beside = zero - 5 if weight > 0 else zero + 5
    number = f"{weight:.2f}".replace("-", "−")
    canvas.text(beside, middle + 0.35 * size, number, size=size - 1, anchor="end" if weight > 0 else "start")
