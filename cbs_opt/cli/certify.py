"""`cbs-opt certify`: bound and gap of a mask from any tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.common import Block, Json, check_outputs, emit, number, percent, say, seconds, working
from cbs_opt.errors import InputError

if TYPE_CHECKING:
    from cbs_opt.certify import Certificate
    from cbs_opt.proof import Verification


def certify(
    block: Block,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", metavar="FILE", help="The mask (1 keeps): .npz or .safetensors with an array mask, or only one."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="The pruned weights, judged as they are; zero where pruned."),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit", metavar="S", min=0, help="Seconds to tighten a small block's bound (0: none; default 10)."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="Verify this certificate of `cbs-opt solve` instead."),
    ] = None,
    json: Json = None,
) -> None:
    """How far a mask from any tool is from the best possible at its own sparsity: bound and gap.

    The file that `cbs-opt solve --out` writes serves as mask and weights at once.

    With --certificate it proves the bound of a certificate anew, independently of any search and in exact arithmetic;
    the exit code is 1 where that fails.

    Example: cbs-opt certify block.npz --mask mask.npz
    """
    if (mask is None) == (certificate is None):
        raise InputError("give exactly one of --mask FILE and --certificate FILE")
    check_outputs(json, inputs=[block, mask, weights, certificate])
    if certificate is not None:
        if weights is not None:
            raise InputError("--weights belongs to --mask; a certificate has its own")
        if time_limit is not None:
            raise InputError("--time-limit belongs to --mask; a certificate is verified in full, leave it out")
        _verify(block, certificate, json)
        return
    assert mask is not None, "one of the two is given"
    from cbs_opt.certify import certify as run
    from cbs_opt.certify import load_mask, load_weights
    from cbs_opt.problem import PruningProblem

    problem = PruningProblem.load(block)
    chosen = load_mask(mask, problem.n)
    given = load_weights(weights or mask, problem.n, required=weights is not None)
    with working(f"bounding {problem.name}, {problem.n} weights"):
        judged = run(problem, chosen, given, time_limit=10.0 if time_limit is None else time_limit)
    emit(json, judged.to_dict(), lambda: _show(judged))


def _verify(block: Path, file: Path, json: str | None) -> None:
    from cbs_opt.problem import PruningProblem
    from cbs_opt.proof import NotVerifiedError, Proof, verify

    problem = PruningProblem.load(block)
    proof = Proof.load(file)
    try:
        with working(f"verifying {file.name}, {proof.nodes:,} nodes") as tell:
            verification = verify(
                problem, proof, progress=lambda done, nodes: tell(f"verifying {file.name}: {done:,} of {nodes:,} nodes")
            )
    except NotVerifiedError as error:
        typer.echo(f"error: {file}: {error}", err=True)
        raise typer.Exit(1) from None
    emit(json, {"verified": True, **verification.to_dict()}, lambda: _show_verified(verification))


def _show_verified(v: Verification) -> None:
    say(f"{v.name}: verified, {v.nodes:,} nodes in {seconds(v.seconds)}, by {v.arithmetic}")
    forced = "" if v.forced == 0 else f" that keeps or prunes the {v.forced} weights it has to"
    say(f"  no mask with at least {v.pruned} of {v.n} zeros{forced} has a loss below {v.bound!r}")
    say(f"  the certificate's mask has a loss of {v.objective!r}  (gap {percent(v.gap)})")
    for note in v.notes:
        say(f"  note: {note}")
    say("The loss is the quadratic model's, of the float64 numbers in the block.")


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
