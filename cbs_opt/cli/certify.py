"""`cbs-opt certify`: bound and gap of a mask from any tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.common import Block, Json, check_outputs, emit, number, percent, say, seconds, working

if TYPE_CHECKING:
    from cbs_opt.certify import Certificate


def certify(
    block: Block,
    mask: Annotated[
        Path,
        typer.Option(
            "--mask", metavar="FILE", help="The mask (1 keeps): .npz or .safetensors with an array mask, or only one."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="The pruned weights, judged as they are; zero where pruned."),
    ] = None,
    time_limit: Annotated[
        float,
        typer.Option("--time-limit", metavar="S", min=0, help="Seconds to tighten a small block's bound (0: none)."),
    ] = 10.0,
    json: Json = None,
) -> None:
    """How far a mask from any tool is from the best possible at its own sparsity: bound and gap.

    The file that `cbs-opt solve --out` writes serves as mask and weights at once.

    Example: cbs-opt certify block.npz --mask mask.npz
    """
    from cbs_opt.certify import certify as run
    from cbs_opt.certify import load_mask, load_weights
    from cbs_opt.problem import PruningProblem

    check_outputs(json)
    problem = PruningProblem.load(block)
    chosen = load_mask(mask, problem.n)
    given = load_weights(weights or mask, problem.n, required=weights is not None)
    with working(f"bounding {problem.name}, {problem.n} weights"):
        certificate = run(problem, chosen, given, time_limit=time_limit)
    emit(json, certificate.to_dict(), lambda: _show(certificate))


def _show(certificate: Certificate) -> None:
    c = certificate
    say(f"{c.name}: a mask that prunes {c.pruned} of {c.n} weights")
    say(f"  loss, weights as trained  {number(c.selection_objective)}")
    if c.given_objective is not None:
        say(f"  loss, weights as given    {number(c.given_objective)}  (gap {percent(c.given_gap)})")
    say(f"  loss, weights re-tuned    {number(c.objective)}  (gap {percent(c.gap)})")
    say(f"  proven lower bound        {number(c.bound)}  ({c.bound_method}, {seconds(c.seconds)})")
    for note in c.notes:
        say(f"  note: {note}")
    say("The gap is about the quadratic model of the loss, not about accuracy.")
