"""`cbs-opt solve`: runs one method on one block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cbs_opt.cli.options import (
    Block,
    Gap,
    Json,
    PatternOption,
    Prune,
    Seed,
    Sparsity,
    TimeLimit,
    limits,
    load_problem,
)
from cbs_opt.cli.output import emit, number, percent, say, seconds
from cbs_opt.cli.outputs import block_inputs, check_outputs
from cbs_opt.errors import CbsOptError
from cbs_opt.kernel.terminal import working
from cbs_opt.kernel.words import counted

if TYPE_CHECKING:
    from cbs_opt.kernel.problem import PruningProblem
    from cbs_opt.kernel.result import Solution
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord


def solve(
    block: Block,
    sparsity: Sparsity = None,
    prune: Prune = None,
    pattern: PatternOption = None,
    method: Annotated[str, typer.Option("--method", metavar="M", help="A name from `cbs-opt methods`.")] = "bnb",
    time_limit: TimeLimit = None,
    gap: Gap = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", help="Threads that search one tree (bnb; default 1).")
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write mask and weights (.npz or .safetensors)."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            help="Write a certificate of the bound, for `cbs-opt certify --certificate`.",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Choose which weights of a block to prune, re-tune the rest, and say what is proven.

    If an exact method ends without a proof, its best answer is shown all the same, and the exit code is 1.

    Example: cbs-opt solve block.npz --sparsity 0.8 --method bnb --time-limit 60 --out pruned.npz
    """
    from cbs_opt.evaluation.catalogue import method as find_method
    from cbs_opt.evaluation.mask_file import save_mask, suffix_of
    from cbs_opt.evaluation.solve import solve as run

    spec = find_method(method)
    options = limits(time_limit, gap)
    if threads is not None:
        options["threads"] = threads
    spec.check_options(options)
    check_outputs(out, certificate, json, inputs=block_inputs([block]))
    if out is not None:
        suffix_of(out)
    problem = load_problem(block, sparsity, prune, pattern)
    records: list[NodeRecord] = []
    if certificate is not None:
        from cbs_opt.proof import node_limit_of, require_certifiable

        require_certifiable(problem)
        if "record" in spec.options:
            options |= {"record": records.append, "node_limit": node_limit_of(problem.n)}
    title = f"{method} on {problem.name}, {problem.n} weights"
    with working(title) as tell:
        if "progress" in spec.options:
            options["progress"] = lambda nodes, incumbent, bound: tell(
                f"{title}: {counted(nodes, 'node')}, incumbent {number(incumbent)}, bound {number(bound)}"
            )
        solution = run(problem, method, seed=seed, **options)
    if out is not None:
        save_mask(out, solution.mask, solution.weights)
    facts, trouble = solution.to_dict(), None
    if certificate is not None:
        try:
            facts["certificate"] = _certify(problem, solution, records, certificate)
        except CbsOptError as error:
            trouble = error  # raised after the solution is shown, which is not lost for it
    emit(json, facts, lambda: _show(solution, spec.exact, out, facts.get("certificate")))
    if trouble is not None:
        raise trouble
    if solution.termination_condition == "interrupted":
        raise typer.Exit(130)
    if spec.exact and solution.solution_status != "optimal":
        raise typer.Exit(1)


def _certify(
    problem: PruningProblem, solution: Solution, records: list[NodeRecord], file: Path
) -> dict[str, str | float]:
    """Write the certificate: made of the search tree if that was recorded, else of one point of the relaxation."""
    from cbs_opt.proof import from_point, from_records

    with working(f"making the certificate of {problem.name}") as tell:
        if records:
            proof = from_records(
                problem,
                solution,
                records,
                progress=lambda done, nodes: tell(f"certificate of {problem.name}: {done:,} of {nodes:,} nodes"),
            )
        else:
            proof = from_point(problem, solution.mask)
        proof.save(file)
    return {"file": str(file), "bound": proof.bound, "nodes": proof.nodes}


def _show(solution: Solution, exact: bool, out: Path | None, certificate: dict[str, str | float] | None) -> None:
    proof = "optimal, proven" if solution.solution_status == "optimal" else "feasible"
    if exact and solution.solution_status != "optimal":
        proof += f", not proven ({solution.termination_condition})"
    say(
        f"{solution.name}: {solution.method} pruned {solution.pruned} of {solution.n} weights "
        f"in {seconds(solution.seconds)}: {proof}"
    )
    recovered = solution.selection_objective - solution.objective
    say(f"  loss, weights as trained  {number(solution.selection_objective)}")
    say(f"  loss, weights re-tuned    {number(solution.objective)}  (the update recovers {number(recovered)})")
    if solution.bound > float("-inf"):
        say(f"  proven lower bound        {number(solution.bound)}  (gap {percent(solution.gap)})")
    elif solution.selection_bound > float("-inf"):
        say(f"  bound on the selection    {number(solution.selection_bound)}  (gap {percent(solution.selection_gap)})")
    else:
        say("  proven lower bound        none by this method; see `cbs-opt certify` or `cbs-opt compare`")
    if solution.nodes:
        say(f"  nodes                     {solution.nodes}")
    for note in solution.notes:
        say(f"  note: {note}")
    if out is not None:
        say(f"  mask and weights in {out}")
    if certificate is not None:
        proven = number(float(certificate["bound"]))
        by = counted(int(certificate["nodes"]), "node")
        say(f"  certificate in {certificate['file']}: a lower bound of {proven} by {by}")
