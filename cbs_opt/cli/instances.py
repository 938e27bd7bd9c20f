"""`cbs-opt instances`: lists, exports and verifies the open library of instances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.options import Json
from cbs_opt.cli.output import emit, number, percent, say, seconds, table
from cbs_opt.cli.outputs import check_outputs
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.kernel.terminal import working
from cbs_opt.kernel.words import counted

if TYPE_CHECKING:
    from cbs_opt.library import Instance

NOT_ALL = 1
SUFFIXES = (".npz", ".lp", ".mps", ".nl")
FORMULATION = "joint-bigm"
"""The formulation in which an instance is exported as a model."""

app = typer.Typer(
    help="The open library of instances: blocks with proven optima, to compare any solver with.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="An instance, as `cbs-opt instances list` names them.")]


@app.command("list")
def list_all(json: Json = None) -> None:
    """List the instances: size, pattern, optimum or best bound of each, and the gap that its certificate proves.

    Example: cbs-opt instances list
    """
    from cbs_opt.library import instances

    check_outputs(json)
    rows = [_facts(one) for one in instances().values()]
    emit(json, {"instances": rows}, lambda: _show(rows))


@app.command()
def export(
    name: Name,
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="block.npz for this program; model.lp, model.mps or model.nl for others."),
    ],
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", help="Write the instance's certificate, too (.npz).")
    ] = None,
    json: Json = None,
) -> None:
    """Write an instance as a block file, or as the model joint-bigm in LP, MPS or NL for any other solver.

    A block file holds no pattern, so that of the instance is printed, as the option that `cbs-opt solve` takes. For
    other formulations, export the block file and give it to `cbs-opt export`.

    Example: cbs-opt instances export diabetes64-k05 diabetes.mps
    """
    from cbs_opt.library import instance

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{out}: the suffix says no format; name it .npz, .lp, .mps or .nl")
    names = [out.with_suffix(other) for other in (".row", ".col")] if suffix == ".nl" else []
    check_outputs(out, certificate, json, made=names)
    chosen = instance(name)
    with working(f"writing {name}"):
        problem = chosen.problem()
        if suffix == ".npz":
            problem.save(out)
        else:
            from cbs_opt.models import by_name, write_model

            write_model(by_name(FORMULATION).build(problem), out)
        if certificate is not None:
            chosen.certificate().save(certificate)
    facts = {**_facts(chosen), "file": str(out)}
    emit(json, facts, lambda: _show_exported(facts, out, certificate))


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME|all", help="One instance, or all of them.")], json: Json = None
) -> None:
    """Build an instance, compare its numbers with the published digest, and verify its certificate.

    The certificate is verified in exact arithmetic and without a solver. The exit code is 1 if an instance fails.

    Example: cbs-opt instances verify diabetes64-k05
    """
    from cbs_opt.library import check, instance, instances

    check_outputs(json)
    chosen = list(instances().values()) if name == "all" else [instance(name)]
    rows: list[dict[str, Any]] = []
    for one in chosen:
        try:
            with working(f"verifying {one.name}, {len(rows) + 1} of {len(chosen)}"):
                verification = check(one)
            rows.append({"name": one.name, "verified": True, **verification.to_dict()})
        except CbsOptError as error:
            rows.append({"name": one.name, "verified": False, "reason": str(error)})
        if json != "-":
            say(_line(rows[-1]))
    failed = [row["name"] for row in rows if not row["verified"]]
    emit(
        json,
        {"verified": not failed, "instances": rows},
        lambda: say(f"{len(rows) - len(failed)} of {len(rows)} verified"),
    )
    if failed:
        raise typer.Exit(NOT_ALL)


def _facts(one: Instance) -> dict[str, Any]:
    known = one.known
    return {
        "name": one.name,
        "family": one.recipe.family,
        "origin": one.recipe.origin,
        "n": one.recipe.n,
        "pattern": str(one.asked),
        "status": "optimal" if known.optimal else "open",
        "objective": known.objective,
        "bound": known.bound,
        "certified": known.certified,
        "certified_gap": known.certified_gap,
        "nodes": known.nodes,
        "digest": known.digest,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    columns = [
        *((heading, "left") for heading in ("instance", "family")),
        ("n", "right"),
        ("asked", "left"),
        ("best known", "right"),
        ("status", "left"),
        ("bound", "right"),
        ("certified to", "right"),
    ]
    body = [
        [
            row["name"],
            row["family"],
            str(row["n"]),
            row["pattern"],
            number(row["objective"]),
            row["status"],
            number(row["bound"]),
            percent(row["certified_gap"]),
        ]
        for row in rows
    ]
    say(table(None, columns, body))
    optimal = sum(row["status"] == "optimal" for row in rows)
    say(
        f"{len(rows)} instances, {optimal} of them proven optimal to a gap of 1e-6; --json - says where each comes from"
    )
    say("Certified to: the gap that the certificate alone proves, in exact arithmetic; its file ends at 600 kB.")


def _show_exported(facts: dict[str, Any], out: Path, certificate: Path | None) -> None:
    say(f"{out}: {facts['name']}, {facts['n']} weights; {facts['origin']}")
    words = facts["pattern"].split(" ", 1)
    say(f"  asked: --{words[0]} {words[1]}")
    say(f"  best known {facts['objective']!r}, bound {facts['bound']!r} ({facts['status']})")
    if certificate is not None:
        block = out if out.suffix.lower() == ".npz" else "BLOCK.npz"
        say(f"  certificate in {certificate}; cbs-opt certify {block} --certificate {certificate}")


def _line(row: dict[str, Any]) -> str:
    if not row["verified"]:
        return f"{row['name']}: NOT VERIFIED, {row['reason']}"
    return (
        f"{row['name']}: verified, no mask with {row['pattern']} has a loss below {row['bound']!r} "
        f"(gap {percent(row['gap'])}, {counted(row['nodes'], 'node')}, {seconds(row['seconds'])})"
    )
