"""Manifests are read whole and checked, or refused with one sentence."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cbs_opt.blocks.manifest import ManifestBlock, is_manifest, line_of, load_manifest, write_manifest
from cbs_opt.errors import InputError

FACTS = {
    "network": "digits",
    "weights": {"file": None, "sha256": None, "state": "0" * 64},
    "partition": "chunks",
    "curvature": "fisher",
    "tensors": {"fc.weight": {"shape": [2, 5], "rows": 2, "kind": "linear", "groups": 1}},
}
BLOCKS = [
    ManifestBlock("fc.weight.0.npz", "a" * 64, "fc.weight", 0, 6, 1e-3),
    ManifestBlock("fc.weight.6.npz", "b" * 64, "fc.weight", 6, 4, 1e-3),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "manifest.json", FACTS, (line_of(block) + "\n" for block in BLOCKS))
    return tmp_path / "manifest.json"


def test_what_is_written_comes_back(file: Path) -> None:
    for path in (file, file.parent):
        assert is_manifest(path)
        plan = load_manifest(path)
        assert plan.blocks == tuple(BLOCKS)
        assert {name: plan.facts[name] for name in FACTS} == FACTS
        assert plan.path(plan.blocks[1]) == file.parent / "fc.weight.6.npz"
        assert (plan.network, plan.weights, plan.tensors) == ("digits", FACTS["weights"], FACTS["tensors"])
    assert json.loads(file.read_bytes())["format"] == 1
    assert not is_manifest(file.parent / "fc.weight.0.npz")


def test_a_manifest_without_blocks_is_json_and_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", FACTS, iter(()))
    assert json.loads((tmp_path / "manifest.json").read_bytes())["blocks"] == []
    with pytest.raises(InputError, match=r"manifest\.json: lists no blocks; extract the blocks again"):
        load_manifest(tmp_path)


def changed(read: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A manifest with one entry replaced; None takes it away."""
    result = copy.deepcopy(read)
    *parts, last = (int(part) if part.isdecimal() else part for part in path.split("/"))
    place: Any = result
    for part in parts:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return result


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 2, "has format 2, but this version reads format 1; extract the blocks again"),
        ("format", None, "is no manifest of extracted blocks"),
        ("blocks", None, "is no manifest of extracted blocks"),
        ("blocks", {}, r"blocks is \{\}, but a list is needed"),
        ("network", 3, "network is 3, but a str is needed"),
        ("weights", None, "weights is None, but a dict is needed"),
        ("tensors/fc.weight/shape", [2, "x"], "tensor fc.weight: has the shape"),
        ("tensors/fc.weight/shape", [2, -5], "tensor fc.weight: has the shape"),
        ("tensors/fc.weight", 7, "tensor fc.weight: shape is None"),
        ("blocks/0", "x", "block 0: file is None"),
        ("blocks/0/file", "../x.npz", "block 0: file is '../x.npz'; a bare name"),
        ("blocks/0/file", "/x.npz", "a bare name"),
        ("blocks/0/file", "x\\y.npz", "a bare name"),
        ("blocks/0/file", "x.txt", "a bare name of an .npz"),
        ("blocks/1/file", "fc.weight.0.npz", "names one block file twice"),
        ("blocks/0/tensor", "fc2.weight", "is of tensor fc2.weight, which the manifest does not describe"),
        ("blocks/0/n", 7, "both hold weight 6 of fc.weight"),
        ("blocks/1/n", 5, r"holds weights 6 to 10, but fc\.weight has 10"),
        ("blocks/1/n", 0, "holds weights 6 to 5"),
        ("blocks/1/first", -1, "holds weights -1 to 2"),
        ("blocks/1/first", True, "block 1: first is True, but a int is needed"),
        ("blocks/1/first", 6.0, "block 1: first is 6.0"),
        ("blocks/1/content", None, "block 1: content is None"),
        ("blocks/1/damping", "x", "block 1: damping is 'x'"),
        ("blocks/1/damping", -1, "block 1: damping is -1"),
        ("blocks/1/damping", 10**400, "block 1: damping is 1000.*; a finite number"),
        ("blocks/1/file", "\ud800.npz", "block 1: file is .*; printable characters are needed"),
        ("network", "\x1b[2J", r"network is '\\x1b\[2J'; printable characters are needed"),
        ("tensors/\x1b[2J", {}, r"tensor '\\x1b\[2J': printable characters are needed"),
    ],
)
def test_what_is_wrong_is_named(file: Path, path: str, value: Any, message: str) -> None:
    read = changed(json.loads(file.read_bytes()), path, value)
    file.write_text(json.dumps(read), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no manifest"),
        (b"{", "is no manifest"),
        (b"[1]", "is no manifest"),
        (b"\xff\xfe", "is no manifest"),
        (b"[" * 100_000, "is no manifest"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_manifest(tmp_path / "m.json")


def test_a_missing_one_says_what_to_name(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.json"):
        with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\); name the manifest.json"):
            load_manifest(path)
