"""The mutants: one small mistake each, nowhere but in what is computed; and the program that tries them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCE = """
def f(a: int | None = 1) -> int | None:
    \"\"\"Of 3.\"\"\"
    if a < 2 and not a:
        raise ValueError(f"{a + 1}")
    return min(-a, 4 * a)
"""


def test_every_expression_that_is_computed_has_mutants_and_no_other() -> None:
    from benchmarks.mutation.mutants import mutants

    found = list(mutants(SOURCE))
    assert [(mutant.line, mutant.words) for mutant in found] == [
        (2, "1  →  2"),
        (4, "a < 2 and (not a)  →  a < 2 or not a"),
        (4, "a < 2  →  a <= 2"),
        (4, "2  →  3"),
        (4, "not a  →  a"),
        (6, "min  →  max"),
        (6, "-a  →  a"),
        (6, "4 * a  →  4 / a"),
        (6, "4  →  5"),
    ]
    whole = ast.unparse(ast.parse(SOURCE))
    for mutant in found:
        changed = [new for old, new in zip(whole.splitlines(), mutant.source.splitlines(), strict=True) if old != new]
        assert len(changed) == 1
        assert ast.parse(mutant.source)


def test_targets_are_files_with_tests() -> None:
    from benchmarks.mutation.command import TARGETS

    for file, tests in TARGETS.items():
        assert all((ROOT / place).exists() for place in (file, *tests)), file


@pytest.mark.slow
def test_a_mutant_is_tried_in_the_place_of_its_module() -> None:
    code = (
        "import sys, cbs_opt; sys.path.insert(0, '.'); from benchmarks.mutation.command import main; "
        "sys.exit(main(['cbs_opt/kernel/arrays/sums.py', '--most', '1']))"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.splitlines()[-1] == "cbs_opt/kernel/arrays/sums.py: 1 of 14 mutants, 1 killed", ran.stderr
