"""No output of any command takes the place of something it reads, or of another output; nothing is touched before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commandline import Cli

from cbs_opt.store import Block, Record, Result, StoreWriter

NET = ("--network", "net:make", "--weights", "w.pt", "--data", "d.npz")
ASSEMBLE = ("assemble", "blocks", "s.sqlite", "--weights", "w.pt", "--data", "d.npz", "--network", "net:make")
STUDY = ("study", "--out", "o", "--blocks", "blocks")
BATCH = ("batch", "--study", "study.toml", "--dry-run")

INPUTS = [
    (("solve", "blocks/a.npz", "--prune", 2, "--out"), "blocks/a.npz"),
    (("solve", "blocks/a.npz", "--prune", 2, "--out"), "blocks/fc.0.curvature.npz"),
    (("solve", "blocks/a.npz", "--prune", 2, "--certificate"), "blocks/fc.0.curvature.npz"),
    (("compare", "blocks", "--prune", 2, "--json"), "blocks/a.npz"),
    (("compare", "blocks", "--prune", 2, "--json"), "blocks/fc.0.curvature.npz"),
    (("certify", "blocks/a.npz", "--mask", "m.npz", "--json"), "m.npz"),
    (("certify", "blocks/a.npz", "--certificate", "c.npz", "--json"), "c.npz"),
    (("certify", "net:make", "--weights", "w.pt", "--data", "d.npz", "--mask", "m.npz", "--json"), "w.pt"),
    (("certify", "net:make", "--weights", "w.pt", "--data", "d.npz", "--mask", "m.npz", "--json"), "net.py"),
    (("export", "blocks/a.npz", "x.lp", "--prune", 2, "--json"), "blocks/fc.0.curvature.npz"),
    (("export", "blocks/a.npz", "x.lp", "--prune", 2, "--mask", "m.npz", "--json"), "m.npz"),
    (("extract", *NET, "--out", "new", "--json"), "d.npz"),
    (("extract", *NET, "--out", "new", "--json"), "net.py"),
    (("prune", "--sparsity", 0.5, *NET, "--json"), "w.pt"),
    (("prune", "--sparsity", 0.5, *NET, "--masks"), "d.npz"),
    (("batch", "blocks", "--prune", 2, "--json"), "blocks/a.npz"),
    (("batch", "blocks/*.npz", "--prune", 2, "--json"), "blocks/b.npz"),
    (("batch", "blocks", "--prune", 2, "--json"), "blocks/fc.0.curvature.npz"),
    (("batch", "blocks/manifest.json", "--prune", 2, "--json"), "blocks/manifest.json"),
    (("batch", "blocks/manifest.json", "--prune", 2, "--json"), "blocks/b.npz"),
    (("batch", "blocks", "--prune", 2, "--store"), "blocks/a.npz"),
    ((*BATCH, "--json"), "study.toml"),
    ((*BATCH, "--json"), "blocks/a.npz"),
    (("report", "s.sqlite", "--html"), "s.sqlite"),
    (("report", "s.sqlite", "--html"), "blocks/manifest.json"),
    (("report", "s.sqlite", "--json"), "blocks/a.npz"),
    ((*ASSEMBLE, "--out", "p.safetensors", "--json"), "blocks/manifest.json"),
    ((*ASSEMBLE, "--out", "p.safetensors", "--json"), "blocks/a.npz"),
    ((*ASSEMBLE, "--out", "p.safetensors", "--json"), "s.sqlite"),
    ((*ASSEMBLE, "--out", "p.safetensors", "--masks"), "w.pt"),
    ((*ASSEMBLE, "--out"), "d.npz"),
    ((*STUDY, "--json"), "blocks/a.npz"),
    ((*STUDY, "--json"), "blocks/fc.0.curvature.npz"),
    (("study", "--out", "o", *NET, "--json"), "w.pt"),
]

OUTPUTS = [
    (("solve", "blocks/a.npz", "--prune", 2, "--out", "x.npz", "--json"), "x.npz"),
    (("export", "blocks/a.npz", "x.nl", "--prune", 2, "--json"), "x.row"),
    (("prune", "--sparsity", 0.5, *NET, "--out", "p.safetensors", "--masks"), "p.safetensors"),
    (("batch", "blocks", "--prune", 2, "--store", "new.sqlite", "--json"), "new.sqlite"),
    (("batch", "blocks", "--prune", 2, "--store", "new.sqlite", "--json"), "new.sqlite-wal"),
    (("batch", "blocks", "--prune", 2, "--store", "new.sqlite", "--json"), "new.sqlite.lock"),
    ((*BATCH, "--json"), "s.sqlite"),
    (("report", "s.sqlite", "--csv", "made", "--json"), "made/summary.csv"),
    (("report", "s.sqlite", "--csv", "tables", "--html"), "tables"),
    (("study", "--blocks", "blocks", "--out", "made", "--json"), "made/results.json"),
    ((*ASSEMBLE, "--out", "p.safetensors", "--masks"), "p.safetensors"),
    (("extract", *NET, "--out", "new", "--json"), "new"),
    (("extract", *NET, "--out", "new", "--json"), "new.partial"),
]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of every kind: what is in them plays no part, for they are not to be read."""
    monkeypatch.chdir(tmp_path)
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    (tmp_path / "made").mkdir()
    for name in ("a.npz", "b.npz", "fc.0.curvature.npz", "manifest.json"):
        (blocks / name).write_text(name)
    for name in ("w.pt", "d.npz", "m.npz", "c.npz", "net.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "study.toml").write_text('blocks = ["blocks"]\nprune = [2]\nstore = "s.sqlite"\n')
    block = Block("0" * 64, "a", "blocks/a.npz", 4, "fc.weight", 0, str(blocks / "manifest.json"))
    result = Result(
        key="k",
        block=0,
        method="bnb",
        asked="prune 2",
        seed=None,
        options={},
        status="failed",
        reason="bad input",
        error="",
    )
    with StoreWriter(tmp_path / "s.sqlite") as store:
        store.write([Record(block, result)])
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(("words", "taken"), INPUTS, ids=lambda part: part if isinstance(part, str) else part[0])
def test_no_output_replaces_an_input(cli: Cli, workplace: Path, words: tuple[object, ...], taken: str) -> None:
    hard, soft = Path("hard" + Path(taken).suffix), Path("soft" + Path(taken).suffix)
    os.link(taken, hard)
    soft.symlink_to(taken)
    before = contents(workplace)
    for target in (taken, workplace / taken, hard, soft):
        cli(*words, target).refused(f"error: {target}: is the input ", Path(taken).name, "write to another file")
    assert contents(workplace) == before


@pytest.mark.parametrize(("words", "taken"), OUTPUTS, ids=lambda part: part if isinstance(part, str) else part[0])
def test_no_output_replaces_another(cli: Cli, workplace: Path, words: tuple[object, ...], taken: str) -> None:
    before = contents(workplace)
    for target in (taken, workplace / taken):
        cli(*words, target).refused(f"{target}: is the output ", Path(taken).name, "write to another file")
    assert contents(workplace) == before


def test_no_output_replaces_what_sqlite_keeps_beside_a_store(cli: Cli, workplace: Path) -> None:
    (workplace / "link.sqlite").symlink_to("s.sqlite")
    for store in ("s.sqlite", "link.sqlite"):
        for end in ("-wal", "-shm", ".lock"):
            target = workplace / f"s.sqlite{end}"
            cli("report", store, "--json", target).refused(f"{target}: is the input ", f"s.sqlite{end}, too")


def test_a_list_of_methods_needs_a_place_to_write_to(cli: Cli) -> None:
    cli("methods", "--json", "no/methods.json").refused("no/methods.json", "does not exist; create it first")
