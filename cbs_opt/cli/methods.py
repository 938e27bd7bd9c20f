"""`cbs-opt methods`: lists what is available here and says why the rest is not; with a name, describes that one."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cbs_opt.cli.options import Json
from cbs_opt.cli.output import emit, say, table
from cbs_opt.cli.outputs import check_outputs
from cbs_opt.errors import UnknownMethodError, unknown_name

if TYPE_CHECKING:
    from cbs_opt.kernel.method import MethodSpec
    from cbs_opt.models import Formulation

OF_THE_COMMAND = {"time_limit": "--time-limit", "gap": "--gap", "threads": "--threads", "seed": "--seed"}
"""Method options that `cbs-opt solve` takes on its command line; in Python every option is a keyword argument."""


def methods(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Describe this method or formulation in full."),
    ] = None,
    json: Json = None,
) -> None:
    """List the methods and the formulations: what they solve, whether they prove it, what they are for.

    With a NAME it describes that one: all its options, their defaults and what they do, or its mathematics.

    Example: cbs-opt methods bnb
    """
    from cbs_opt.evaluation.catalogue import methods as all_methods
    from cbs_opt.models import FORMULATIONS

    check_outputs(json)
    if name is not None:
        _one(name, json)
        return
    rows = [_facts(spec) for spec in all_methods().values()]
    models = [_facts_of_model(model) for model in FORMULATIONS.values()]
    emit(json, {"methods": rows, "formulations": models}, lambda: _show(rows, models))


def _one(name: str, json: str | None) -> None:
    """Describe the method or formulation ``name``."""
    from cbs_opt.evaluation.catalogue import method
    from cbs_opt.evaluation.catalogue import methods as all_methods
    from cbs_opt.models import FORMULATIONS

    if name in FORMULATIONS:
        facts = _facts_of_model(FORMULATIONS[name])
        mathematics = inspect.getdoc(sys.modules[FORMULATIONS[name].build.__module__]) or ""
        emit(json, {**facts, "mathematics": mathematics}, lambda: _show_model(facts, mathematics))
        return
    try:
        spec = method(name)
    except UnknownMethodError:
        raise unknown_name("method or formulation", name, [*all_methods(), *FORMULATIONS]) from None
    facts, words = _facts(spec), spec.option_words()
    emit(json, {**facts, "option_words": words}, lambda: _show_method(facts, words))


def _facts(spec: MethodSpec) -> dict[str, Any]:
    reason = spec.unavailable_because()
    return {
        "name": spec.name,
        "summary": spec.summary,
        "objective": str(spec.objective),
        "exact": spec.exact,
        "max_n": spec.max_n,
        "patterns": spec.patterns_in_words(),
        "curvatures": spec.curvatures_in_words(),
        "available": reason is None,
        "reason": reason,
        "left_out_because": spec.left_out_because or None,
        "options": spec.options,
        "reference": spec.reference,
    }


def _facts_of_model(model: Formulation) -> dict[str, Any]:
    return {
        "name": model.name,
        "summary": model.summary,
        "problem_class": str(model.problem_class),
        "reference": model.reference,
    }


def _here(row: dict[str, Any]) -> str:
    """Whether the method can run here, and for which patterns unless it takes all."""
    if not row["available"]:
        return f"no: {row['reason']}"
    return "yes" if row["patterns"] == "every" else f"for {row['patterns']}"


def _show(rows: list[dict[str, Any]], models: list[dict[str, Any]]) -> None:
    say(
        table(
            "Methods: `cbs-opt solve BLOCK --sparsity R --method NAME`",
            [
                ("method", "left"),
                ("problem", "left"),
                ("answer", "left"),
                ("max n", "right"),
                ("here", "left"),
                ("what it does", "left"),
                ("reference", "left"),
            ],
            [
                [
                    row["name"],
                    row["objective"],
                    "exact" if row["exact"] else "heuristic",
                    "any" if row["max_n"] is None else str(row["max_n"]),
                    _here(row),
                    row["summary"],
                    row["reference"],
                ]
                for row in rows
            ],
        ),
        table(
            "Formulations: `cbs-opt export BLOCK model.lp --formulation NAME --sparsity R`",
            [("formulation", "left"), ("class", "left"), ("what it is", "left"), ("reference", "left")],
            [[model["name"], model["problem_class"], model["summary"], model["reference"]] for model in models],
        ),
        "`cbs-opt methods NAME` shows one of them with all its options.",
    )


def _show_method(facts: dict[str, Any], words: dict[str, str]) -> None:
    problem = {"joint": "mask and weights together (CBS)", "selection": "the mask alone (CBS-S)"}[facts["objective"]]
    say(f"{facts['name']}: {facts['summary']}")
    say(f"  problem      {problem}; {'proves its answer' if facts['exact'] else 'heuristic'}")
    say(f"  weights      {'any number' if facts['max_n'] is None else 'at most ' + str(facts['max_n'])}")
    say(f"  patterns     {facts['patterns']}")
    say(f"  curvatures   {facts['curvatures']}")
    say(f"  here         {'yes' if facts['available'] else 'no: ' + facts['reason']}")
    if facts["left_out_because"]:
        say(f"  by default   not in comparisons: {facts['left_out_because']}; name it to run it")
    say(f"  reference    {facts['reference']}")
    if not facts["options"]:
        say("  options      none")
        return
    say(
        table(
            None,
            [("option", "left"), ("default", "left"), ("command", "left"), ("what it does", "left")],
            [
                [option, _default(default), OF_THE_COMMAND.get(option, ""), words[option].replace("``", "")]
                for option, default in facts["options"].items()
            ],
        ),
        f'In Python: cbs_opt.solve(problem, "{facts["name"]}", {next(iter(facts["options"]))}=…)',
    )


def _default(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _show_model(facts: dict[str, Any], mathematics: str) -> None:
    say(f"{facts['name']} ({facts['problem_class']}): {facts['summary']}")
    say(f"  reference    {facts['reference']}", "", mathematics)
