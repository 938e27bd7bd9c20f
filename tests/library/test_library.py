"""The library of instances: rebuilt from its data, verified by its certificates, refused where it was tampered with."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from commandline import Cli

import cbs_opt
from cbs_opt.errors import InputError, UnknownMethodError
from cbs_opt.library import Instance, check, instance, instances
from cbs_opt.library.catalogue import HOME
from cbs_opt.library.digits_in_integers import INPUT_BITS, WEIGHT_BITS, layers
from cbs_opt.library.exact_products import gram, least_squares
from cbs_opt.library.recipes import recipes
from cbs_opt.proof import NotVerifiedError

SMALL = (
    "digits-fc3-row03-gram16-weak-s50",
    "digits-fc2-from40-fisher16-strong-2of4",
    "digits-fc2-row00-gram32-strong-s80",
    "diabetes10-k03",
)
"""A second or so each; all of them are verified by ``cbs-opt instances verify all``."""


def test_names_are_unique_and_safe_as_names_of_files() -> None:
    asked = [words for recipe in recipes() for words in recipe.asked]
    assert len(instances()) == len(asked) >= 100
    assert len({recipe.name for recipe in recipes()}) == len(recipes())
    for name in instances():
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"), name


def test_all_are_published_with_a_certificate_and_no_file_is_left_over() -> None:
    published = json.loads((HOME / "published.json").read_text(encoding="utf-8"))
    assert set(published) == set(instances())
    files = {name for file in (HOME / "certificates").iterdir() if (name := Path(str(file)).name).endswith(".npz")}
    assert files == {f"{name}.npz" for name in instances()}
    for one in instances().values():
        known = one.known
        assert known.certified <= known.bound <= known.objective
    sizes = {family: sum(r.family == family for r in recipes()) for family in ("gram", "fisher", "best-subset")}
    assert min(sizes.values()) >= 5
    assert {r.n for r in recipes()} >= {16, 32, 64, 128}


@pytest.mark.parametrize("name", SMALL)
def test_a_sample_is_verified(name: str) -> None:
    verification = check(instance(name))
    known = instance(name).known
    assert verification.bound == known.certified
    assert verification.objective == known.objective
    assert verification.gap == known.certified_gap < 1e-6


def test_the_optimum_is_that_of_enumeration() -> None:
    for name in ("digits-fc3-row03-gram16-weak-s50", "diabetes10-k03"):
        found = cbs_opt.solve(instance(name).problem(), "enumeration")
        assert found.objective == pytest.approx(instance(name).known.objective, rel=1e-9)


def test_a_block_with_other_numbers_or_another_claim_is_refused() -> None:
    one = instance(SMALL[0])
    other = instance("digits-fc3-row08-gram16-weak-s50")
    with pytest.raises(InputError, match=f"{one.name}: comes out with other numbers than those that were published"):
        replace(one, published=other.known).problem()
    with pytest.raises(NotVerifiedError, match="its certificate is about another pattern"):
        check(replace(one, asked=instance("digits-fc3-row03-gram16-weak-2of4").asked))
    known = one.known
    with pytest.raises(NotVerifiedError, match="is published, but only"):
        check(replace(one, published=replace(known, certified=known.certified * 1.01)))
    with pytest.raises(NotVerifiedError, match=r"objective of .* is published"):
        check(replace(one, published=replace(known, objective=known.objective * 0.99)))
    with pytest.raises(InputError, match="nothing is published of it"):
        _ = replace(one, published=None).known


def test_an_unknown_name_is_told_its_nearest() -> None:
    with pytest.raises(UnknownMethodError, match="did you mean diabetes64-k05"):
        instance("diabetes-k05")
    with pytest.raises(UnknownMethodError, match=r"instance '\.\./published': unknown"):
        instance("../published")


def test_products_are_rounded_once() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(-(2**40), 2**40, size=(7, 3)).astype(object)  # products of 80 bits: no machine integers
    H = gram(rows, -35, Fraction(1, 3))
    exact = [[Fraction(int(sum(rows[:, i] * rows[:, j])), 7 * 2**70) for j in range(3)] for i in range(3)]
    damping = Fraction(float(sum(exact[i][i] for i in range(3)) / 9))
    for i in range(3):
        for j in range(3):
            assert H[i, j] == float(exact[i][j] + damping * (i == j))
    X, y = rng.normal(size=(5, 2)), rng.normal(size=5)
    H, g, offset = least_squares(X, y, 0.1)
    x, v = [[Fraction(e) for e in row] for row in X.tolist()], [Fraction(e) for e in y.tolist()]
    assert H[0, 1] == H[1, 0] == float(sum(r[0] * r[1] for r in x) / 5)
    assert H[1, 1] == float(sum(r[1] * r[1] for r in x) / 5 + Fraction(0.1))
    assert g[0] == float(-sum(r[0] * e for r, e in zip(x, v, strict=True)) / 5)
    assert offset == float(sum(e * e for e in v) / 10)


def test_small_and_large_integers_give_the_same_products() -> None:
    rows = np.random.default_rng(1).integers(-1000, 1000, size=(6, 4)).astype(object)
    assert (gram(rows, 0, Fraction(1, 2)) == gram(rows * 2**40, -40, Fraction(1, 2))).all()


def test_the_network_in_integers_is_the_network() -> None:
    import torch
    from sklearn.datasets import load_digits

    from cbs_opt.network.load import load_network

    model = load_network("digits").double()
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images[:64] / 16)
    of = layers(1024)
    hidden = torch.relu(model.fc1(x))
    assert np.abs(of["fc2"].inputs[:64] / 2.0 ** INPUT_BITS[1] - hidden.detach().numpy()).max() < 0.02
    weights = of["fc2"].weights / 2.0**WEIGHT_BITS
    assert np.abs(weights - model.fc2.weight.detach().numpy()).max() <= 2.0 ** -(WEIGHT_BITS + 1)
    for row in range(8):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x[row : row + 1]), torch.tensor(labels[row : row + 1])).backward()
        for name, layer in of.items():
            exact = getattr(model, name).weight.grad.numpy().ravel()
            ours = layer.gradients(slice(0, exact.size))[row] / 2.0 ** (12 + layer.input_bits)
            assert np.abs(ours - exact).max() < 0.01 * max(1.0, np.abs(exact).max())


def test_the_diabetes_block_is_the_least_squares_problem() -> None:
    """Its optimum for ten columns is that which ``best_subset`` proves from the data."""
    from cbs_opt.library.regressions import diabetes

    X, y = diabetes()
    found = cbs_opt.best_subset(X, y, 3, ridge=1e-6)
    assert instance("diabetes10-k03").known.objective == pytest.approx(found.objective, rel=1e-9)


def test_the_commands(cli: Cli, tmp_path: Path) -> None:
    listed = cli("instances", "list", "--json", "-")
    rows = json.loads(listed.out)["instances"]
    assert [row["name"] for row in rows] == list(instances())
    assert {row["status"] for row in rows} <= {"optimal", "open"}
    assert "diabetes64-k05" in cli("instances", "list").out
    done = cli("instances", "verify", SMALL[0])
    assert done.code == 0
    assert "1 of 1 verified" in done.out
    assert cli("instances", "verify", "no-such").code == 2
    block, proof = tmp_path / "block.npz", tmp_path / "proof.npz"
    exported = cli("instances", "export", SMALL[0], block, "--certificate", proof)
    assert exported.code == 0
    assert "asked: --sparsity 0.5" in exported.out
    assert f"cbs-opt certify {block} --certificate {proof}" in " ".join(exported.out.split())
    assert cli("certify", block, "--certificate", proof).code == 0
    assert cli("instances", "export", SMALL[0], tmp_path / "model.xyz").code == 2


def test_a_failed_proof_ends_with_exit_code_1(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    one = instance(SMALL[0])
    spoilt: dict[str, Instance] = {one.name: replace(one, published=replace(one.known, certified=one.known.objective))}
    monkeypatch.setattr("cbs_opt.library.catalogue.instances", lambda: spoilt)
    done = cli("instances", "verify", one.name)
    assert done.code == 1
    assert "NOT VERIFIED" in done.out
    assert "0 of 1 verified" in done.out


def test_exported_models_have_the_published_optimum(cli: Cli, tmp_path: Path) -> None:
    import highspy

    name = "diabetes10-k03"
    for suffix in ("lp", "mps"):
        model = tmp_path / f"model.{suffix}"
        assert cli("instances", "export", name, model).code == 0
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        assert solver.readModel(str(model)) == highspy.HighsStatus.kOk
        assert solver.getNumCol() >= 20
    assert cli("instances", "export", name, tmp_path / "model.nl").code == 0
    assert (tmp_path / "model.col").exists()


def test_the_published_table_is_the_one_of_the_certificates() -> None:
    """A certificate names its block by the digest that is published, where its pattern is a cardinality."""
    for one in instances().values():
        proof = one.certificate()
        if one.asked.kind != "pattern":
            assert proof.digest == one.known.digest
        assert proof.bound == one.known.certified
