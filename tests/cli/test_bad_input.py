"""Bad input is one sentence on stderr, exit code 2, and no file touched."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Cli

import cbs_opt.evaluation.catalogue as catalogue
import cbs_opt.evaluation.solve as run_module
from cbs_opt import MethodSpec, PruningProblem, solve
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.result import Outcome

EYE = np.eye(4)
ONES = np.ones(4)
BAD_PLACE = np.where(np.arange(16).reshape(4, 4) == 6, np.nan, EYE)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"w": [1, np.nan, 1, 1], "H": EYE}, ["w: entry 1 is nan", "finite"]),
        ({"w": [1, 1, 1, -np.inf], "H": EYE}, ["w: entry 3 is -inf"]),
        ({"w": ONES, "H": BAD_PLACE}, ["H: entry (1, 2) is nan"]),
        ({"w": ONES, "G": BAD_PLACE, "damping": 1.0}, ["G: entry (1, 2) is nan"]),
        ({"w": ONES, "X": BAD_PLACE, "damping": 1.0}, ["X: entry (1, 2) is nan"]),
        ({"w": ONES, "H": EYE, "g": [1, 1, np.inf, 1]}, ["g: entry 2 is inf"]),
        ({"w": ONES, "G": EYE, "damping": np.nan}, ["damping: is nan", "≥ 0"]),
        ({"w": ONES, "G": EYE, "damping": -1.0}, ["damping: is -1.0", "≥ 0"]),
        ({"w": ONES, "H": EYE, "offset": np.nan}, ["offset: is nan"]),
        ({"w": ONES, "H": np.triu(np.ones((4, 4))) + 3 * EYE}, ["H: not symmetric, H[", "(H + Hᵀ)/2"]),
        ({"w": ONES, "H": np.ones((4, 3))}, ["H: has shape (4, 3)", "square"]),
        ({"w": ONES[:3], "H": EYE}, ["w: has 3 weights", "order 4"]),
        ({"w": EYE, "H": EYE}, ["w: has shape (4, 4)"]),
        ({"w": ONES, "H": EYE, "g": ONES[:2]}, ["g: has 2 entries", "4 weights"]),
        ({"w": ONES}, ["exactly one of H, G, X and curvature", "none"]),
        ({"H": EYE}, ["w: is missing"]),
        ({"w": ONES, "H": EYE, "G": EYE, "damping": 1.0}, ["exactly one of H, G, X and curvature", "H and G"]),
        ({"w": ONES, "G": EYE}, ["damping: is missing"]),
        ({"w": np.array([1, "a", None, 2], dtype=object), "H": EYE}, ["pickled", "save plain arrays"]),
        ({"w": ["a", "b", "c", "d"], "H": EYE}, ["w: has dtype", "real numbers"]),
    ],
)
def test_bad_blocks(cli: Cli, tmp_path: Path, arrays: dict[str, Any], words: list[str]) -> None:
    file, out = tmp_path / "bad.npz", tmp_path / "out.npz"
    np.savez(file, **arrays)
    for command in (("solve", file, "--method", "magnitude", "--out", out), ("compare", file)):
        cli(*command, "--sparsity", 0.5).refused(f"error: {file}: ", *words)
    assert not out.exists()


def test_indefinite_curvature_names_a_damping_that_suffices(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    A = np.random.default_rng(0).standard_normal((4, 4))
    H = A + A.T
    np.fill_diagonal(H, 1.0)
    np.savez(file, w=ONES, H=H)
    run = cli("solve", file, "--prune", 2, "--method", "magnitude")
    run.refused(f"{file}: H: not positive definite, its smallest eigenvalue is -", "damping λ of at least")
    damping = float(re.findall(r"at least ([0-9.e+-]+)", run.err)[0])
    np.savez(file, w=ONES, H=H + damping * EYE)
    assert cli("solve", file, "--prune", 2, "--method", "magnitude").code == 0


def test_files_that_cannot_be_read(cli: Cli, tmp_path: Path, block: Path) -> None:
    empty, text, cut = tmp_path / "empty.npz", tmp_path / "text.npz", tmp_path / "cut.npz"
    empty.touch()
    text.write_text("w = [1, 2]")
    cut.write_bytes(block.read_bytes()[:200])
    for file, word in (
        (tmp_path / "missing.npz", "no such file"),
        (tmp_path, "is a folder"),
        (empty, "not an npz archive"),
        (text, "not an npz archive"),
        (cut, "cut short"),
    ):
        cli("solve", file, "--prune", 1, "--method", "magnitude").refused(f"error: {file}: ", word)
    (tmp_path / "nothing").mkdir()
    cli("compare", tmp_path / "nothing", "--prune", 1).refused("holds no .npz files")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prune", "9"], ["prune: is 9", "the 8 weights"]),
        (["--prune", "-1"], ["prune: is '-1'"]),
        (["--prune", "2.5"], ["--prune"]),
        (["--sparsity", "1.5"], ["sparsity: is 1.5", "[0, 1]"]),
        (["--sparsity", "-0.1"], ["sparsity: is -0.1"]),
        (["--sparsity", "nan"], ["sparsity: is nan"]),
        (["--sparsity", "abc"], ["--sparsity"]),
        (["--sparsity", "0.5", "--prune", "1"], ["exactly one of --sparsity R, --prune K and --pattern P"]),
        ([], ["exactly one of --sparsity R, --prune K and --pattern P; block files hold no pattern"]),
        (["--prune", "1", "--time-limit", "1"], ["method magnitude: has no option time_limit; it has none"]),
        (["--prune", "1", "--method", "magnitud"], ["did you mean magnitude?", "there are "]),
        (["--prune", "1", "--method", "bnb", "--time-limit", "nan"], ["time_limit: is nan"]),
        (["--prune", "1", "--method", "bnb", "--gap", "-1"], ["gap: is -1"]),
        (["--prune", "1", "--method", "cbs", "--seed", "-1"], ["--seed"]),
        (["--prune", "1", "--methd", "bnb"], ["--methd", "cbs-opt solve --help"]),
    ],
)
def test_bad_requests(cli: Cli, block: Path, words: list[str], said: list[str]) -> None:
    method = [] if "--method" in words else ["--method", "magnitude"]
    cli("solve", block, *method, *words).refused(*said)


def test_bad_requests_to_the_other_commands(cli: Cli, block: Path, tmp_path: Path) -> None:
    cli("compare", block, "--prune", 2, "--methods", "magnitude,bnbb").refused("'bnbb'", "did you mean bnb")
    cli("compare", block, "--prune", 2, "--methods", ",").refused("--methods: names nothing")
    cli("compare", block, "--sparsity", "nan").refused("sparsity: is nan")
    cli("compare").refused("Missing argument", "cbs-opt compare --help")
    cli("sove", block).refused("sove", "solve")
    model = ("--prune", 2, "--formulation")
    cli("export", block, tmp_path / "m.lp", *model, "joint-bgm").refused("did you mean joint-bigm?")
    cli("export", block, tmp_path / "m.txt", *model, "joint-bigm").refused("m.txt", ".lp, .mps or .nl")
    cli("export", block, tmp_path / "no" / "m.lp", *model, "joint-bigm").refused("does not exist")
    gdp = cli("export", block, tmp_path / "m.lp", *model, "joint-indicator", "--transformation", "x")
    gdp.refused("gdp.bigm, gdp.hull")
    cli("study", "--blocks", block, "--network", "digits").refused("not both")
    cli("study", "--data", block).refused("--data: belongs to a network", "give --network")
    cli("study", "--sparsity", "0.5,x").refused("sparsity: is 'x'")
    cli("study", "--methods", "magnitudes", "--out", tmp_path / "o").refused("did you mean magnitude?")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--curvature", "gram"),
        ("--targets", "fc1"),
        ("--partition", 16),
        ("--blocks-per-layer", 0),
        ("--weights", "w.pt"),
    ],
)
def test_a_study_without_a_network_refuses_its_options(
    cli: Cli, block: Path, tmp_path: Path, option: tuple[str, object]
) -> None:
    for source in ((), ("--blocks", block)):
        run = cli("study", *source, *option, "--out", tmp_path / "o")
        run.refused(f"{option[0]}: belongs to a network", "give --network")
    assert not (tmp_path / "o").exists()


def test_other_options_that_would_be_ignored_are_refused(cli: Cli, block: Path, tmp_path: Path) -> None:
    for option in (("--samples", 10), ("--dampening-frac", 0.1)):
        run = cli("study", block, *option, "--out", tmp_path / "o")
        run.refused(f"{option[0]}: makes no difference to block files")
    np.savez(tmp_path / "mask.npz", mask=np.arange(8) % 2)
    words = ("export", block, tmp_path / "m.lp", "--formulation", "update-qp", "--mask", tmp_path / "mask.npz")
    for option in (("--prune", 9), ("--sparsity", 0.5), ("--pattern", "2:4")):
        cli(*words, *option).refused("leave out --sparsity, --prune and --pattern")
    certifying = ("certify", block, "--certificate", tmp_path / "c.npz")
    cli(*certifying, "--time-limit", 1).refused("--time-limit belongs to --mask")
    assert not (tmp_path / "m.lp").exists()


def test_an_output_never_replaces_an_input_or_another_output(cli: Cli, block: Path, tmp_path: Path) -> None:
    mask, link, model = tmp_path / "mask.npz", tmp_path / "link.npz", tmp_path / "m.lp"
    np.savez(mask, mask=np.arange(8) % 2)
    link.symlink_to(block)
    before = block.read_bytes(), mask.read_bytes()
    solving = ("solve", block, "--prune", 2, "--method", "magnitude")
    for option in ("--out", "--certificate", "--json"):
        for same in (block, link, tmp_path / "." / ".." / tmp_path.name / block.name):
            cli(*solving, option, same).refused(f"{same}: is the input {block}, too; write to another file")
    both = tmp_path / "both.npz"
    cli(*solving, "--out", both, "--json", both).refused(f"{both}: is the output {both}, too")
    cli("certify", block, "--mask", mask, "--json", mask).refused("is the input ")
    cli("certify", block, "--mask", mask, "--json", block).refused("is the input ")
    cli("compare", block, "--prune", 2, "--json", block).refused("is the input ")
    cli("compare", tmp_path, "--prune", 2, "--json", block).refused("is the input ")
    cli("study", block, "--out", tmp_path / "o", "--json", block).refused("is the input ")
    cli("export", block, model, "--prune", 2, "--json", model).refused("is the output ")
    cli("export", block, model, "--prune", 2, "--json", block).refused("is the input ")
    assert (block.read_bytes(), mask.read_bytes()) == before
    assert not both.exists()
    assert not model.exists()
    assert cli(*solving, "--json", "/dev/null").code == 0


def test_export_refuses_more_weights_than_a_model_can_hold(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "huge.npz"
    rng = np.random.default_rng(0)
    np.savez(file, w=rng.standard_normal(1001), G=rng.standard_normal((5, 1001)), damping=1e-2)
    run = cli("export", file, tmp_path / "m.lp", "--sparsity", 0.5)
    run.refused("has 1001 weights, an exported model takes at most 1000; cut it into smaller blocks")


def test_bad_masks_and_weights(cli: Cli, block: Path, tmp_path: Path) -> None:
    z = np.arange(8) % 2

    def saved(name: str, **arrays: Any) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    good = saved("good.npz", mask=z)
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\x00")
    (tmp_path / "empty.npz").touch()
    for mask, *words in (
        (saved("short.npz", mask=z[:4]), "mask: has shape (4,)", "(8,)"),
        (saved("two.npz", mask=2 * z), "other than 0 and 1"),
        (saved("nan.npz", mask=np.full(8, np.nan)), "other than 0 and 1"),
        (saved("several.npz", a=z, b=z), "holds a, b", "call the right one mask"),
        (saved("object.npz", mask=np.array([None] * 8, dtype=object)), "pickled"),
        (tmp_path / "empty.npz", "not an npz archive"),
        (tmp_path / "bad.safetensors", "cannot be read as safetensors"),
        (tmp_path / "missing.safetensors", "no such file"),
        (tmp_path / "mask.pt", "'.pt' names no format"),
    ):
        cli("certify", block, "--mask", mask).refused(f"error: {mask}: ", *words)
    for weights, word in (
        (saved("w1.npz", weights=np.ones(8)), "weights: entry 0 is 1, but the mask prunes it"),
        (saved("w2.npz", weights=np.where(z, np.inf, 0)), "weights: entry 1 is inf"),
        (saved("w3.npz", weights=np.ones(3)), "weights: has 3 entries, but the block has 8 weights"),
    ):
        cli("certify", block, "--mask", good, "--pruned", weights).refused(word)


def test_too_many_weights_for_an_exact_method_are_refused_at_once(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "huge.npz"
    rng = np.random.default_rng(0)
    np.savez(file, w=rng.standard_normal(5000), G=rng.standard_normal((10, 5000)), damping=1e-2)
    run = cli("solve", file, "--sparsity", 0.5, "--method", "enumeration")
    run.refused("method enumeration: takes at most 20 weights, but huge has 5000", "cut it into smaller blocks")
    assert cli("solve", file, "--sparsity", 0.5, "--method", "magnitude").code == 0


def test_a_method_whose_package_is_missing(cli: Cli, block: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(problem: PruningProblem) -> Outcome:
        raise AssertionError("must not run")

    spec = MethodSpec("gurobi", never, "", True, Objective.JOINT, "", requires=("gurobipy",))
    monkeypatch.setitem(catalogue._EXTRA, "gurobi", spec)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "gurobipy" else real(name, *a))
    for command in (("solve", block, "--method", "gurobi"), ("compare", block, "--methods", "magnitude,gurobi")):
        cli(*command, "--prune", 2).refused("method gurobi: needs the package gurobipy; install it")


def test_an_unwritable_output_is_refused_before_the_work(
    cli: Cli, block: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("must not run")

    monkeypatch.setattr(run_module, "solve", never)
    solving = ("solve", block, "--prune", 2, "--method", "magnitude")
    for option in ("--out", "--json"):
        cli(*solving, option, tmp_path / "no" / "x.npz").refused("the folder", "does not exist; create it first")
        cli(*solving, option, tmp_path).refused("is a folder; name a file in it")
        cli(*solving, option, block / "x.npz").refused("is not a folder")
    cli(*solving, "--out", tmp_path / "x.txt").refused("x.txt", "'.txt' names no format")


def test_existing_results_survive_a_failure(
    cli: Cli, block: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, answer = tmp_path / "out.npz", tmp_path / "answer.json"
    words = ("solve", block, "--prune", 2, "--out", out, "--json", answer)
    assert cli(*words, "--method", "magnitude").code == 0
    before = out.read_bytes(), answer.read_bytes(), sorted(tmp_path.iterdir())
    assert solve(PruningProblem.load(block).pruning(2), "magnitude").pruned == 2

    def fail(stream: Any, **arrays: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    cli(*words, "--method", "nobody").refused("unknown")
    cli("solve", block, "--prune", 99, "--out", out, "--method", "magnitude").refused("prune: is 99")
    monkeypatch.setattr(np, "savez", fail)
    cli(*words, "--method", "magnitude").refused(f"{out}: cannot be written (No space left on device)")
    assert (out.read_bytes(), answer.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_an_error_nobody_expected_is_a_sentence_too(cli: Cli, block: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(problem: PruningProblem) -> Outcome:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setitem(catalogue._EXTRA, "broken", MethodSpec("broken", broken, "", False, Objective.JOINT, ""))
    words = ("solve", block, "--prune", 2, "--method", "broken")
    cli(*words).refused("ZeroDivisionError: by zero", "run again with --debug", code=70)
    run = cli(*words, "--debug")
    assert run.code == 70
    assert "Traceback" in run.err
    assert "in broken" in run.err
    run = cli("compare", block, "--prune", 2, "--methods", "magnitude,broken")
    assert run.code == 70
