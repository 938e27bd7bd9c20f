"""`cbs-opt export`: writes a formulation of a block as a file for other solvers."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from cbs_opt.cli.options import Block, Json, PatternOption, Prune, Sparsity, load_problem
from cbs_opt.cli.output import emit, say
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.errors import InputError, TooLargeError, UnsupportedError
from cbs_opt.kernel.terminal import working

SUFFIXES = (".lp", ".mps", ".nl")
MAX_N = 1_000
"""The most weights of a block that is exported: its model has a term for every pair of weights."""


def export(
    block: Block,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: model.lp, model.mps or model.nl.")],
    formulation: Annotated[
        str, typer.Option("--formulation", metavar="NAME", help="A formulation of `cbs-opt methods`.")
    ] = "joint-bigm",
    sparsity: Sparsity = None,
    prune: Prune = None,
    pattern: PatternOption = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="With update-qp: the mask (1 keeps) whose weights are re-tuned."),
    ] = None,
    transformation: Annotated[
        str | None,
        typer.Option(
            "--transformation",
            metavar="gdp.bigm|gdp.hull",
            help="With joint-indicator: how its disjunctions become constraints (default gdp.bigm).",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Write a formulation of a block as an LP, MPS or NL file, for any other solver.

    Example: cbs-opt export block.npz model.lp --formulation joint-bigm --sparsity 0.8
    """
    from cbs_opt.models import by_name, write_model

    spec = by_name(formulation)
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: the suffix says no format; name it .lp, .mps or .nl")
    names = [out.with_suffix(suffix) for suffix in (".row", ".col")] if out.suffix.lower() == ".nl" else []
    check_outputs(out, json, made=names, inputs=[*block_inputs([block]), mask])
    accepted = inspect.signature(spec.build).parameters
    options: dict[str, Any] = {}
    for option, value in (("mask", mask), ("transformation", transformation)):
        if value is not None and option not in accepted:
            raise UnsupportedError(f"formulation {formulation}: has no option --{option}; leave it out")
    if "transformation" in accepted:
        options["transformation"] = transformation or "gdp.bigm"
        if options["transformation"] not in ("gdp.bigm", "gdp.hull"):
            raise InputError(f"transformation: is {transformation}; there are gdp.bigm, gdp.hull")
    if "mask" in accepted:
        if mask is None:
            raise InputError(f"formulation {formulation}: needs the mask, give --mask FILE")
        if sparsity is not None or prune is not None or pattern is not None:
            raise InputError(
                f"formulation {formulation}: prunes what --mask prunes; leave out --sparsity, --prune and --pattern"
            )
        from cbs_opt.evaluation.mask_file import load_mask
        from cbs_opt.kernel.problem import PruningProblem

        problem = PruningProblem.load(block)
        options["mask"] = load_mask(mask, problem.n)
    else:
        problem = load_problem(block, sparsity, prune, pattern)
    if problem.n > MAX_N:
        raise TooLargeError(
            f"{block}: has {problem.n} weights, an exported model takes at most {MAX_N}; cut it into smaller blocks"
        )
    with working(f"building {formulation} for {problem.name}"):
        model = spec.build(problem, **options)
        write_model(model, out)
    facts = {
        "name": problem.name,
        "n": problem.n,
        "formulation": spec.name,
        "problem_class": str(spec.problem_class),
        "file": str(out),
        "variables": model.nvariables(),
        "constraints": model.nconstraints(),
    }
    emit(
        json,
        facts,
        lambda: say(
            f"{out}: {formulation} ({spec.problem_class}) of {problem.name}, {facts['variables']} variables, "
            f"{facts['constraints']} constraints; {spec.summary}"
        ),
    )
