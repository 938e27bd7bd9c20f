"""The table of facts at the top of every page of ``docs/methods``, as the method's own spec states them.

    python docs/machinery/method_facts.py    # writes all of them anew

A test holds that the pages say what the specs say; this mends them.
"""

from __future__ import annotations

import re
from pathlib import Path

from cbs_opt.evaluation.catalogue import methods
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.method import MethodSpec, Objective

PAGES = Path(__file__).resolve().parents[1] / "methods"

FACTS = re.compile(r"^\| fact \| \|\n(?:\|.*\n)*", re.MULTILINE)
"""The table, wherever it stands on a page."""

SOLVES = {
    Objective.JOINT: "the joint problem (CBS): the mask and the weights that stay, together",
    Objective.SELECTION: "the selection (CBS-S): the mask, with the kept weights as trained",
}


def facts(spec: MethodSpec) -> str:
    """The table of one method."""
    any_curvature = Curvature in spec.curvatures
    rows = {
        "solves": SOLVES[spec.objective],
        "answer": "proven optimal, given time" if spec.exact else "a mask, judged by a bound from elsewhere or its own",
        "patterns": spec.patterns_in_words(),
        "curvatures": "every" if any_curvature else ", ".join(kind.__name__ for kind in spec.curvatures),
        "most weights": "no limit of its own" if spec.max_n is None else f"{spec.max_n:,}",
        "packages": ", ".join(spec.requires) or "none but NumPy and SciPy",
        "options": ", ".join(f"`{name}={value!r}`" for name, value in spec.options.items()) or "none",
        "run by a comparison that names no methods": f"no: {spec.left_out_because}" if spec.left_out_because else "yes",
    }
    return "| fact | |\n|---|---|\n" + "".join(f"| {name} | {words} |\n" for name, words in rows.items())


if __name__ == "__main__":
    for spec in methods().values():
        page = PAGES / f"{spec.name}.md"
        text = page.read_text(encoding="utf-8")
        page.write_text(FACTS.sub(lambda _, spec=spec: facts(spec), text, count=1), encoding="utf-8")
