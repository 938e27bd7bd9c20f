"""`cbs-opt methods`: what is available here, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbs_opt.cli.options import Json
from cbs_opt.cli.output import emit, say, table
from cbs_opt.cli.outputs import check_outputs

if TYPE_CHECKING:
    from cbs_opt.kernel.method import MethodSpec

OFFERED = ("time_limit", "gap", "seed")


def methods(json: Json = None) -> None:
    """List the methods and the formulations: what they solve, whether they prove it, their options.

    Example: cbs-opt methods
    """
    from cbs_opt.evaluation.catalogue import methods as all_methods
    from cbs_opt.models import FORMULATIONS

    rows: list[dict[str, Any]] = []
    for spec in all_methods().values():
        reason = spec.unavailable_because()
        rows.append(
            {
                "name": spec.name,
                "summary": spec.summary,
                "objective": str(spec.objective),
                "exact": spec.exact,
                "max_n": spec.max_n,
                "patterns": spec.patterns_in_words(),
                "available": reason is None,
                "reason": reason,
                "options": _options(spec),
                "reference": spec.reference,
            }
        )
    models = [
        {
            "name": model.name,
            "summary": model.summary,
            "problem_class": str(model.problem_class),
            "reference": model.reference,
        }
        for model in FORMULATIONS.values()
    ]
    check_outputs(json)
    emit(json, {"methods": rows, "formulations": models}, lambda: _show(rows, models))


def _options(spec: MethodSpec) -> dict[str, Any]:
    """The options of the command line, and the numbers that tune a method; hooks for Python are left out."""
    return {
        name: default
        for name, default in spec.options.items()
        if name in OFFERED or (isinstance(default, (int, float)) and not isinstance(default, bool))
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
                ("options", "left"),
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
                    ", ".join(f"{option}={default}" for option, default in row["options"].items()) or "–",
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
    )
