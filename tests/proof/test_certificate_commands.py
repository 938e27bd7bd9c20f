"""`cbs-opt solve --certificate` and `cbs-opt certify --certificate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commandline import Cli, make_block

from cbs_opt import PruningProblem
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, DenseCurvature


def test_solve_writes_what_certify_verifies(cli: Cli, block: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.npz"
    run = cli("solve", block, "--sparsity", 0.5, "--certificate", file)
    assert (run.code, run.err) == (0, "")
    assert f"certificate in {file}: a lower bound of" in run.out
    run = cli("certify", block, "--certificate", file)
    assert (run.code, run.err) == (0, "")
    assert "row0: verified" in run.out
    assert "exact rational arithmetic" in run.out
    assert "no mask with at least 6 of 12 zeros has a loss below" in run.out
    assert "the certificate's mask has a loss of" in run.out


def test_as_json(cli: Cli, block: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.npz"
    solved = json.loads(cli("solve", block, "--prune", 7, "--certificate", file, "--json", "-").out)
    verified = json.loads(cli("certify", block, "--certificate", file, "--json", "-").out)
    assert verified["verified"] is True
    assert verified["bound"] == solved["certificate"]["bound"]
    assert verified["nodes"] == solved["certificate"]["nodes"]
    assert verified["objective"] == pytest.approx(solved["objective"], rel=1e-9)
    assert verified["gap"] <= 1e-6
    assert (verified["pruned"], verified["forced"], verified["notes"]) == (7, 0, [])


@pytest.mark.parametrize("method", ["bnb", "magnitude"])
def test_n_of_m(cli: Cli, block: Path, tmp_path: Path, method: str) -> None:
    file = tmp_path / "proof.npz"
    words = ("solve", block, "--pattern", "1:4", "--method", method, "--certificate", file, "--json", "-")
    solved = cli(*words).json()
    run = cli("certify", block, "--certificate", file)
    assert (run.code, run.err) == (0, "")
    assert "no mask with at least 3 zeros in every 4 consecutive weights has a loss below" in run.out
    verified = cli("certify", block, "--certificate", file, "--json", "-").json()
    assert (verified["pattern"], verified["pruned"]) == ("at least 3 zeros in every 4 consecutive weights", 9)
    assert verified["bound"] == solved["certificate"]["bound"]
    best = cli("solve", block, "--pattern", "1:4", "--method", "enumeration", "--json", "-").json()
    assert verified["bound"] <= best["objective"] * (1 + 1e-12)
    assert verified["objective"] == pytest.approx(solved["objective"], rel=1e-9)
    cli("certify", block, "--certificate", file, "--pattern", "1:4").refused("a certificate has its own")


def test_any_method_gets_a_certificate_of_one_point(cli: Cli, block: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.npz"
    assert cli("solve", block, "--prune", 7, "--method", "magnitude", "--certificate", file).code == 0
    verified = json.loads(cli("certify", block, "--certificate", file, "--json", "-").out)
    assert verified["nodes"] == 1
    assert verified["gap"] > 0


def test_what_is_not_verified_ends_with_1_and_says_where(cli: Cli, block: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.npz"
    cli("solve", block, "--prune", 7, "--certificate", file)
    with np.load(file) as arrays:
        np.savez(tmp_path / "raised.npz", **{**arrays, "bound": arrays["bound"] * 1.001})
    cli("certify", block, "--certificate", tmp_path / "raised.npz").refused(
        "raised.npz: not verified: node", "less than the claimed", code=1
    )
    other = make_block(tmp_path / "row1.npz", seed=1, n=12)
    cli("certify", other, "--certificate", file).refused("not verified", "made for another block", code=1)


def test_bad_input_ends_with_2(cli: Cli, block: Path, tmp_path: Path) -> None:
    cli("certify", block).refused("give exactly one of --mask FILE and --certificate FILE")
    file = tmp_path / "proof.npz"
    cli("solve", block, "--prune", 7, "--certificate", file)
    cli("certify", block, "--mask", file, "--certificate", file).refused("give exactly one of")
    cli("certify", block, "--pruned", file, "--certificate", file).refused("--pruned belongs to --mask")
    cli("certify", block, "--certificate", block).refused("row0.npz", "is no certificate")
    small = make_block(tmp_path / "small.npz", n=5)
    cli("certify", small, "--certificate", file).refused("is for 12 weights, but the block has 5")
    cli("solve", block, "--prune", 7, "--certificate", tmp_path / "no" / "proof.npz").refused("does not exist")
    n = 1200
    curvature = BlockDiagonalCurvature([DenseCurvature(np.eye(2))] * (n // 2))
    PruningProblem(np.ones(n), curvature).save(tmp_path / "large.npz")
    words = ("solve", tmp_path / "large.npz", "--prune", 7, "--method", "magnitude", "--certificate", file)
    cli(*words).refused("certificate: takes at most 1000 weights")


def test_a_certificate_serves_as_mask_file(cli: Cli, block: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.npz"
    cli("solve", block, "--prune", 7, "--certificate", file)
    judged = json.loads(cli("certify", block, "--mask", file, "--json", "-").out)
    assert judged["pruned"] == 7
    assert judged["gap"] <= 1e-6
