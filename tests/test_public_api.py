"""`import cbs_opt` is light, and its names are what they say whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cbs_opt

HEAVY = ("torch", "pyomo", "numba", "scipy", "sklearn", "matplotlib", "joblib", "highspy", "rich")


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = in_a_fresh_process("import sys, cbs_opt; print(*sorted(m.split('.')[0] for m in sys.modules))").split()
    assert not set(HEAVY) & set(loaded)


def test_using_the_kernel_loads_neither_torch_nor_pyomo_nor_numba() -> None:
    code = (
        "import sys, numpy as np; from cbs_opt import PruningProblem, obs_update; "
        "p = PruningProblem(np.ones(3), np.eye(3)).pruning(1); "
        "obs_update(p, p.Z.argmax(p.w_bar)); print(*sys.modules)"
    )
    loaded = {module.split(".")[0] for module in in_a_fresh_process(code).split()}
    assert not {"torch", "pyomo", "numba", "sklearn", "matplotlib"} & loaded


def test_the_command_line_knows_its_help_without_numpy() -> None:
    code = "import sys; from cbs_opt.cli import main; main(['--help']); print('|', *sys.modules)"
    loaded = {module.split(".")[0] for module in in_a_fresh_process(code).split("|")[-1].split()}
    assert not {*HEAVY, "numpy"} - {"rich"} & loaded


def test_solve_is_the_function_even_after_its_module_was_imported() -> None:
    code = (
        "import cbs_opt, cbs_opt.evaluation.solve, cbs_opt.evaluation.comparator, cbs_opt.evaluation.lower_bound; "
        "names = 'solve compare lower_bound methods obs_update'.split(); "
        "print(all(callable(getattr(cbs_opt, name)) for name in names))"
    )
    assert in_a_fresh_process(code) == "True"


def test_every_public_name_resolves_and_others_do_not() -> None:
    for name in cbs_opt.__all__:
        assert getattr(cbs_opt, name) is not None
    assert set(cbs_opt.__all__) <= set(dir(cbs_opt))
    assert set(cbs_opt.__all__) == set(cbs_opt._HOME)
    with pytest.raises(AttributeError, match="has no attribute 'prnue'"):
        _ = cbs_opt.prnue


def test_the_version_is_that_of_the_project() -> None:
    from importlib.metadata import version

    assert cbs_opt.__version__ == version("cbs-opt")
