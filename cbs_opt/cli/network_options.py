"""Options of the commands that take a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Network = Annotated[
    str,
    typer.Option(
        "--network",
        metavar="N",
        help="The network: digits, mlpnet, resnet20, cifarnet, mobilenet, resnet50, hf:FOLDER or module:factory.",
    ),
]

WeightsFile = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Trained weights (.safetensors, .npz or .pt).")
]

DataFile = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Samples (.npz): train_x, train_y, test_x, test_y; or x and y; or x alone where no labels are needed.",
    ),
]

TextFile = Annotated[
    Path | None, typer.Option("--text", metavar="FILE", help="With hf:FOLDER: the text to calibrate on (UTF-8).")
]

TestTextFile = Annotated[
    Path | None,
    typer.Option("--test-text", metavar="FILE", help="With hf:FOLDER: the text that perplexity is measured on."),
]

SequenceLength = Annotated[
    int | None,
    typer.Option("--sequence-length", metavar="L", min=2, help="With hf:FOLDER: tokens in one sample (default 512)."),
]

Damping = Annotated[
    float | None, typer.Option("--damping", metavar="λ", min=0, help="Damping λ itself, in the units of the curvature.")
]

DampeningFrac = Annotated[
    float | None,
    typer.Option(
        "--dampening-frac",
        metavar="F",
        min=0,
        help="Damping λ as a share of the curvature's mean diagonal (default 0.01).",
    ),
]


def partition_of(said: str) -> str | int:
    """The value of --partition: a word, or the number of weights in a chunk."""
    return int(said) if said.isdecimal() else said


BoundTime = Annotated[
    float | None,
    typer.Option(
        "--bound-time",
        metavar="S",
        min=0,
        help="Spend this many seconds on the bounds of all layers together (of prune, in each stage) and take the "
        "best bounds found by then.",
    ),
]

Samples = Annotated[int, typer.Option("--samples", metavar="m", min=1, help="How many calibration samples to draw.")]

Targets = Annotated[
    str | None, typer.Option("--targets", metavar="P,P", help="Layers to prune, by name patterns ('layer1.*,fc').")
]

Ignore = Annotated[
    str | None,
    typer.Option("--ignore", metavar="P,P", help="Layers to leave alone, by name patterns; stronger than --targets."),
]

Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Seed for drawing samples, and for methods that draw at random."),
]

ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write one self-contained HTML page about the layers.")
]

Device = Annotated[str, typer.Option("--device", metavar="D", help="Where to compute: cpu or cuda.")]
