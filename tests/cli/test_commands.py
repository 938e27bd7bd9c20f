"""What the commands do when all is well: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Cli, make_block

import cbs_opt.evaluation.catalogue as catalogue
from cbs_opt import PruningProblem, obs_update, solve
from cbs_opt.kernel.result import Outcome, TerminationCondition
from cbs_opt.models import FORMULATIONS
from cbs_opt.version import __version__

COMMANDS = ("study", "solve", "compare", "certify", "export", "methods", "warmup")


def parsed(text: str) -> dict[str, Any]:
    """One JSON object and nothing else; NaN and Infinity are not JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


# ---------------------------------------------------------------- help


def test_help_breaks_its_lines_where_the_terminal_ends() -> None:
    import typer

    from cbs_opt.cli import app

    group: Any = typer.main.get_command(app)
    for command in (*group.commands.values(), *group.commands["instances"].commands.values()):
        assert all("\n" not in paragraph for paragraph in command.help.split("\n\n")), command.name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, command: str) -> None:
    run = cli(command, "--help")
    assert run.code == 0
    assert f"Example: cbs-opt {command}" in run.out
    assert "--json" in run.out


def test_the_front_page_names_all_commands_and_the_exit_codes(cli: Cli) -> None:
    for words in ((), ("--help",), ("-h",)):
        run = cli(*words)
        assert run.code == 0
        assert all(command in run.out for command in COMMANDS)
        assert "Exit codes" in run.out


def test_the_version(cli: Cli) -> None:
    assert cli("--version").out == f"cbs-opt {__version__}\n"


def test_warmup_compiles_what_the_methods_need(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    specs = {
        name: replace(spec, prepare=lambda name=name: prepared.append(name), requires=requires)
        for (name, spec), requires in zip(catalogue.methods().items(), [("no_such_package",), ()], strict=False)
    }
    monkeypatch.setattr(catalogue, "methods", lambda: specs)
    run = cli("warmup", "--json", "-")
    assert run.code == 0
    assert prepared == list(specs)[1:]
    assert set(parsed(run.out)) == {"folder", "kernels", "seconds"}


# ---------------------------------------------------------------- solve


def test_solve_prints_a_summary(cli: Cli, block: Path) -> None:
    run = cli("solve", block, "--sparsity", 0.5, "--method", "enumeration")
    assert run.code == 0
    assert run.err == ""
    assert "row0: enumeration pruned 4 of 8 weights" in run.out
    assert "optimal, proven" in run.out


def test_solve_as_json_agrees_with_the_library(cli: Cli, block: Path) -> None:
    data = parsed(cli("solve", block, "--prune", 5, "--method", "enumeration", "--json", "-").out)
    solution = solve(PruningProblem.load(block).pruning(5), "enumeration")
    assert {**data, "seconds": 0} == {**json.loads(json.dumps(solution.to_dict())), "seconds": 0}
    assert data["name"] == "row0"
    assert (data["n"], data["pruned"], data["solution_status"]) == (8, 5, "optimal")
    assert data["kept"] == np.flatnonzero(data["weights"]).tolist()
    heuristic = parsed(cli("solve", block, "--prune", 5, "--method", "magnitude", "--json", "-").out)
    assert heuristic["bound"] is heuristic["gap"] is None
    assert heuristic["solution_status"] == "feasible"


def test_json_into_a_file_leaves_the_summary(cli: Cli, block: Path, tmp_path: Path) -> None:
    run = cli("solve", block, "--prune", 5, "--method", "magnitude", "--json", tmp_path / "answer.json")
    assert "magnitude pruned 5 of 8" in run.out
    assert parsed((tmp_path / "answer.json").read_text())["pruned"] == 5


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_solve_writes_certify_reads(cli: Cli, block: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"pruned{suffix}"
    solved = parsed(cli("solve", block, "--prune", 3, "--method", "enumeration", "--out", out, "--json", "-").out)
    data = parsed(cli("certify", block, "--mask", out, "--json", "-").out)
    assert data["pruned"] == 3
    assert data["objective"] == data["given_objective"] == solved["objective"]
    assert data["bound"] <= solved["objective"] * (1 + 1e-9)
    assert data["gap"] >= 0


def test_an_exact_method_without_its_proof_shows_its_answer_and_ends_with_1(
    cli: Cli, block: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(problem: PruningProblem, *, time_limit: float = math.inf) -> Outcome:
        return Outcome(problem.Z.argmax(problem.w_bar**2), termination=TerminationCondition.TIME_LIMIT)

    def stopped(problem: PruningProblem) -> Outcome:
        return Outcome(problem.Z.argmax(problem.w_bar**2), termination=TerminationCondition.INTERRUPTED)

    def broken_off(problem: PruningProblem) -> Outcome:
        raise KeyboardInterrupt

    exact = catalogue.method("enumeration")
    for name, function in (("slow", slow), ("stopped", stopped), ("broken-off", broken_off)):
        monkeypatch.setitem(catalogue._EXTRA, name, replace(exact, name=name, run=function))
    run = cli("solve", block, "--prune", 3, "--method", "slow", "--time-limit", 0.1)
    assert run.code == 1
    assert "not proven (maxTimeLimit)" in run.out
    run = cli("solve", block, "--prune", 3, "--method", "stopped", "--json", "-")
    assert run.code == 130
    assert parsed(run.out)["termination_condition"] == "interrupted"
    run = cli("solve", block, "--prune", 3, "--method", "broken-off")
    assert (run.code, run.out, run.err) == (130, "", "interrupted\n")


# ---------------------------------------------------------------- compare


def test_compare_sums_over_the_blocks_of_a_folder(cli: Cli, folder: Path) -> None:
    words = ("compare", folder, "--sparsity", 0.5, "--methods", "magnitude, enumeration")
    data = parsed(cli(*words, "--json", "-").out)
    assert [entry["problem"] for entry in data["blocks"]] == ["row0", "row1", "row2"]
    assert data["failed"] == []
    units = [PruningProblem.load(folder / f"row{i}.npz").objective(np.zeros(8)) for i in range(3)]
    assert [entry["unit"] for entry in data["blocks"]] == units
    assert data["sum_unit"] == "each block relative to the loss of removing it whole"
    for i, method in enumerate(("magnitude", "enumeration")):
        rows = [entry["rows"][i] for entry in data["blocks"]]
        total = data["sum"][i]
        assert total["method"] == method
        assert total["n"] == 24
        for key in ("objective", "bound", "selection_objective"):
            relative = sum(row[key] / unit for row, unit in zip(rows, units, strict=True))
            assert total[key] == pytest.approx(relative, rel=1e-12)
        assert total["gap"] == pytest.approx(1 - total["bound"] / total["objective"], abs=1e-9)
    assert 0 <= data["sum"][1]["gap"] <= 1e-12  # nothing but the reserve for round-off in the bound
    run = cli(*words)
    assert (run.code, run.err) == (0, "")
    assert "Sum over 3 blocks, 24 weights, each block relative to the loss of removing it whole; bound " in run.out
    assert "about the quadratic model of the loss, not about accuracy" in run.out


def test_a_failing_block_is_reported_and_the_others_go_on(cli: Cli, folder: Path) -> None:
    np.savez(folder / "row1.npz", w=np.ones(3), H=np.eye(2))
    (folder / "row9.npz").touch()
    words = ("compare", folder, "--prune", 4, "--methods", "magnitude")
    run = cli(*words)
    assert run.code == 1
    assert "2 of 4 blocks failed" in run.out
    assert run.err.count("error: ") == 2
    assert f"error: {folder / 'row1.npz'}: w: has 3 weights" in run.err
    run = cli(*words, "--json", "-")
    assert run.code == 1
    data = parsed(run.out)
    assert len(data["blocks"]) == 2
    assert data["failed"][0] == {
        "file": str(folder / "row1.npz"),
        "error": "w: has 3 weights, but the curvature is of order 2; they must agree",
    }


def test_blocks_that_all_fail_are_bad_input(cli: Cli, folder: Path) -> None:
    run = cli("compare", folder, "--prune", 9, "--methods", "magnitude")
    assert run.code == 2
    assert run.err.count("a whole number between 0 and the 8 weights") == 3
    cli("compare", folder / "row0.npz", "--prune", 9, "--methods", "magnitude").refused("row0.npz: prune: is 9")


# ---------------------------------------------------------------- certify


def test_a_mask_from_any_tool_is_certified_at_its_own_sparsity(cli: Cli, block: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    problem = PruningProblem.load(block)
    z = problem.pruning(6).Z.argmax(problem.w_bar**2)
    np.savez(tmp_path / "only.npz", anything=z.astype(np.int8))
    np.savez(tmp_path / "named.npz", mask=z, other=np.ones(3))
    save_file({"mask": z}, tmp_path / "mask.safetensors")
    given = np.where(z, problem.w_bar, 0.0)
    np.savez(tmp_path / "weights.npz", w=given.astype(np.float32))
    for mask in ("only.npz", "named.npz", "mask.safetensors"):
        data = parsed(cli("certify", block, "--mask", tmp_path / mask, "--json", "-").out)
        assert data["pruned"] == 6
        assert data["objective"] == problem.objective(obs_update(problem, z))
        assert data["selection_objective"] == problem.objective(given)
        assert data["given_objective"] is data["given_gap"] is None
    run = cli("certify", block, "--mask", tmp_path / "only.npz", "--pruned", tmp_path / "weights.npz", "--json", "-")
    assert parsed(run.out)["given_objective"] == pytest.approx(problem.objective(given), rel=1e-6)
    shown = cli("certify", block, "--mask", tmp_path / "only.npz")
    assert "a mask that prunes 6 of 8 weights" in shown.out
    assert "not about accuracy" in shown.out


# ---------------------------------------------------------------- export and methods


@pytest.mark.parametrize("suffix", [".lp", ".mps", ".nl"])
def test_export_writes_every_format(cli: Cli, block: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"model{suffix}"
    run = cli("export", block, out, "--formulation", "selection-linearized", "--sparsity", 0.5, "--json", "-")
    assert parsed(run.out)["file"] == str(out)
    assert out.stat().st_size > 100


def test_export_of_formulations_with_options(cli: Cli, block: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.lp"
    assert cli("export", block, out, "--formulation", "joint-indicator", "--prune", 4).code == 0
    cli("export", block, out, "--formulation", "update-qp").refused("needs the mask, give --mask FILE")
    np.savez(tmp_path / "mask.npz", mask=np.arange(8) % 2)
    assert cli("export", block, out, "--formulation", "update-qp", "--mask", tmp_path / "mask.npz").code == 0
    words = ("export", block, out, "--formulation", "joint-bigm", "--prune", 4)
    cli(*words, "--mask", tmp_path / "mask.npz").refused("joint-bigm: has no option --mask")


@pytest.mark.parametrize("name", [name for name in FORMULATIONS if name != "update-qp"])
def test_every_formulation_is_exported_under_every_kind_of_pattern(
    cli: Cli, block: Path, tmp_path: Path, name: str
) -> None:
    for words in (("--prune", 4), ("--pattern", "2:4")):
        out = tmp_path / f"{words[1]}.lp".replace(":", "of")
        assert cli("export", block, out, "--formulation", name, *words).code == 0
        text = out.read_text(encoding="utf-8")
        assert ("cardinality" in text) == (words[1] == 4)
        assert ("quotas(1)" in text) == (words[1] == "2:4")


def test_methods_lists_what_is_here_and_why_not(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    needy = replace(catalogue.method("magnitude"), name="needy", requires=("no_such_package_at_all",))
    monkeypatch.setitem(catalogue._EXTRA, "needy", needy)
    data = parsed(cli("methods", "--json", "-").out)
    by_name = {entry["name"]: entry for entry in data["methods"]}
    assert by_name["enumeration"]["exact"]
    assert by_name["enumeration"]["max_n"] == 20
    assert by_name["magnitude"]["available"]
    assert by_name["greedy-obs"]["patterns"] == "every"
    assert by_name["cbs"]["patterns"] == "Cardinality"
    assert by_name["needy"]["reason"] == "needs the package no_such_package_at_all"
    assert by_name["cbs"]["options"]["seed"] == 0
    assert {"time_limit", "gap"} <= by_name["bnb"]["options"].keys()
    assert all(entry["reference"] for entry in (*data["methods"], *data["formulations"]))
    run = cli("methods")
    assert all(name in run.out for name in (*by_name, *(entry["name"] for entry in data["formulations"])))


def test_methods_left_out_are_one_line_and_those_that_fail_say_why(cli: Cli, tmp_path: Path) -> None:
    from cbs_opt.cli.output import left_out

    skipped = {"wanda": "for layers; name it to run it", "slow": "failed: on purpose", "scip": "needs the package x"}
    assert left_out(skipped) == [
        "slow: failed: on purpose",
        "left out: wanda, scip (`cbs-opt methods NAME` or --json say why)",
    ]
    assert left_out({}) == []
    run = cli("compare", make_block(tmp_path / "row.npz"), "--prune", 4)
    assert run.code == 0
    assert run.out.count("left out") == 1


def test_methods_of_a_name_shows_every_option_and_what_it_does(cli: Cli) -> None:
    run = cli("methods", "bnb")
    assert run.code == 0
    assert all(option in run.out for option in catalogue.method("bnb").options)
    assert "--time-limit" in run.out
    assert "Relative gap at which the search ends." in run.out
    data = parsed(cli("methods", "cbs", "--json", "-").out)
    assert data["options"] == {"seed": 0, "trials": 50, "rho": 10, "epsilon": 1e-4, "tau": 20}
    assert data["option_words"]["rho"].startswith("ρ, positions scanned")
    assert "min  c − bᵀw + ½ wᵀHw" in cli("methods", "joint-bigm").out
    assert "options      none" in cli("methods", "magnitude").out
    cli("methods", "bmb").refused("method or formulation 'bmb': unknown; did you mean bnb?")


@pytest.mark.parametrize("name", [*catalogue.methods(), "pyomo:gurobi_direct"])
def test_every_option_of_every_method_is_described(name: str) -> None:
    for option, words in catalogue.method(name).option_words().items():
        assert len(words) > 10, (name, option)


# ---------------------------------------------------------------- study


def test_study_of_block_files(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "broken.npz").touch()
    words = ("study", "--blocks", folder, "--methods", "magnitude,enumeration", "--jobs", 1, "--out", out)
    run = cli(*words, "--sparsity", "0.5", "--json", "-")
    data = parsed(run.out)
    assert run.code == 1  # one block cannot be read
    assert "broken.npz" in run.err
    assert len(data["rows"]) == 6
    assert all(row["gap"] >= 0 for row in data["rows"])
    assert (out / "index.html").exists()
    parsed((out / "results.json").read_text())


def test_block_files_may_follow_without_the_option_being_repeated(cli: Cli, folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("*.npz"))
    out = tmp_path / "out"
    words = ("study", "--methods", "magnitude", "--sparsity", "0.5", "--jobs", 1, "--out", out, "--blocks", *files)
    run = cli(*words)
    assert run.code == 0
    assert "3 blocks" in run.out
    assert "index.html" in run.out


def test_output_is_not_wrapped_when_nobody_watches(cli: Cli, tmp_path: Path) -> None:
    block = make_block(tmp_path / ("a-name-that-is-" + "very-" * 20 + "long.npz"))
    run = cli("solve", block, "--prune", 3, "--method", "magnitude")
    assert run.out.splitlines()[0].endswith("feasible")
    assert not sys.stdout.isatty()
