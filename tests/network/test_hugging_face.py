"""Models of the transformers library: a folder in, a folder out, and one sentence for what cannot be read."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_llama import WORDS, write_folder

from cbs_opt.errors import InputError
from cbs_opt.network import hugging_face
from cbs_opt.network.measures import Perplexity

transformers = pytest.importorskip("transformers")

TEXT = " ".join(np.random.default_rng(0).choice(WORDS, 700))
LENGTH = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "llama"
    write_folder(made)
    return made


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


def test_windows_are_the_text_in_its_order(folder: Path, text: Path) -> None:
    found = hugging_face.windows(folder, text, LENGTH)
    assert found.shape == (700 // LENGTH, LENGTH)
    assert [["?", *WORDS][token] for token in found.ravel()[:20]] == TEXT.split()[:20]


def test_perplexity_is_that_of_the_formula(folder: Path, text: Path) -> None:
    model = hugging_face.load_model(folder)
    tokens = hugging_face.windows(folder, text, LENGTH)[:3]
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)).logits.double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    likelihoods = [shares[w, i - 1, tokens[w, i]] for w in range(3) for i in range(1, LENGTH)]
    assert Perplexity(tokens).of(model) == pytest.approx(np.exp(-np.mean(np.log(likelihoods))), rel=1e-5)


def pruned(cli: Any, folder: Path, text: Path, out: Path, *more: Any) -> dict[str, Any]:
    run = cli(
        "prune", "--network", f"hf:{folder}", "--text", text, "--sequence-length", LENGTH, "--method", "admm",
        "--dampening-frac", 0.01, "--no-bound", "--out", out, "--json", "-", *more,
    )  # fmt: skip
    assert run.code == 0, run.err
    told: dict[str, Any] = json.loads(run.out)
    return told


def test_a_pruned_folder_is_the_folder_with_zeros(cli: Any, folder: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    told = pruned(cli, folder, text, out, "--pattern", "2:4", "--test-text", text)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert {file.name for file in out.iterdir()} == {*before, "pruning.json", "pruning.html"}
    for name, content in before.items():
        assert name.endswith(".safetensors") or (out / name).read_bytes() == content
    assert json.loads((out / "pruning.json").read_text()) == told
    assert told["perplexity"] == pytest.approx(told["perplexity_dense"], rel=1.0)
    assert len(told["layers"]) == 14
    page = (out / "pruning.html").read_text(encoding="utf-8")
    assert all(layer["name"] in page for layer in told["layers"])
    assert "perplexity, pruned" in page
    assert not told["bound_asked"]
    assert "not asked" in page
    assert told["notes"][0].startswith("layer lm_head: stays as it is, its weight is model.embed_tokens.weight")
    dense = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    for name, tensor in model.named_parameters():
        if "proj" in name:
            assert int((tensor.reshape(len(tensor), -1, 4) == 0).sum(dim=2).min()) >= 2, name
        else:
            assert torch.equal(tensor, dense.get_parameter(name)), name
    tokens = hugging_face.windows(folder, text, LENGTH)
    assert Perplexity(tokens).of(model.float()) == pytest.approx(told["perplexity"], rel=0.05)  # bfloat16 on disk


def test_an_encoder_without_a_head(cli: Any, text: Path, tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "encoder"
    write_folder(place)
    config = transformers.BertConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(WORDS) + 1
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(place)
    told = pruned(cli, place, text, tmp_path / "out", "--sparsity", 0.5)
    assert told["sparsity"] >= 0.5
    assert len(told["layers"]) == 7  # the pooler, too


def sharded(place: Path) -> None:
    transformers.AutoModelForCausalLM.from_pretrained(place).save_pretrained(place, max_shard_size="8KB")
    (place / "model.safetensors").unlink()


def test_several_weight_files(cli: Any, text: Path, tmp_path: Path) -> None:
    place, out = tmp_path / "model", tmp_path / "out"
    write_folder(place)
    sharded(place)
    assert len(list(place.glob("*.safetensors"))) > 1
    pruned(cli, place, text, out, "--sparsity", 0.5)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert float((model.model.layers[1].mlp.up_proj.weight == 0).float().mean()) >= 0.1
    assert sorted(file.name for file in out.iterdir()) == sorted(
        [*(f.name for f in place.iterdir()), "pruning.json", "pruning.html"]
    )


def without(name: str) -> Any:
    return lambda place: (place / name).unlink()


def with_nan(place: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(place)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[2, 3] = float("nan")
    model.save_pretrained(place)


def from_the_future(place: Path) -> None:
    config = json.loads((place / "config.json").read_text())
    config |= {"model_type": "llama9", "architectures": ["Llama9ForCausalLM"], "transformers_version": "9.1"}
    (place / "config.json").write_text(json.dumps(config))


def pickled(place: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(place)
    (place / "model.safetensors").unlink()
    torch.save(model.state_dict(), place / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("config.json"), "has no config.json"),
        (pickled, r"has no \.safetensors; .* no pickle is read"),
        (without("tokenizer.json"), "its tokenizer cannot be read"),
        (with_nan, r"model\.layers\.1\.mlp\.up_proj\.weight holds NaN"),
        (from_the_future, r"its model cannot be read by the installed transformers; it was written by version 9\.1"),
        (lambda place: (place / "model.safetensors").write_bytes(b"\0" * 99), "its model cannot be read"),
    ],
)
def test_folders_that_cannot_be_read(text: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    place = tmp_path / "model"
    write_folder(place)
    spoil(place)

    def read() -> None:
        hugging_face.load_model(place)
        hugging_face.windows(place, text, LENGTH)

    with pytest.raises(InputError, match=message) as caught:
        read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "short.txt"], "short.txt: has 3 tokens, less than one sequence of 12"),
        (["--text", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--text", "bytes.txt"], "bytes.txt: cannot be read as text"),
        ([], "give --text FILE"),
        (["--text", "short.txt", "--data", "d.npz"], "--data: hf:"),
        (["--text", "text.txt", "--out", "there"], "there: is there already"),
        (["--text", "text.txt", "--out", "no/where"], "does not exist"),
        (["--text", "text.txt", "--curvature", "fisher"], "has no labels"),
    ],
)
def test_words_for_what_is_missing(
    cli: Any,
    folder: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("one old bird")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "there").mkdir(exist_ok=True)
    run = cli("prune", "--network", f"hf:{folder}", "--sparsity", 0.5, "--sequence-length", LENGTH, *options)
    assert run.code == 2
    assert message in run.err
    assert not list(tmp_path.glob(".there*"))


def test_any_tools_folder_is_judged_layer_by_layer(cli: Any, folder: Path, text: Path, tmp_path: Path) -> None:
    """Half of two layers by magnitude and a bit by hand, against sums over tokens computed here."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    other = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    names = ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"]
    with torch.no_grad():
        for name in names:
            weight = other.get_submodule(name).weight
            weight[weight.abs() < weight.abs().median()] = 0.0
            weight *= 1.01
    other.save_pretrained(tmp_path / "other")
    words = ("certify", f"hf:{folder}", "--pruned", f"hf:{tmp_path / 'other'}", "--text", text)
    run = cli(*words, "--sequence-length", LENGTH, "--damping", 0.1, "--test-text", text, "--json", "-")
    assert run.code == 0, run.err
    told = json.loads(run.out)
    assert [layer["name"] for layer in told["layers"]] == names
    assert told["perplexity_dense"] != told["perplexity"]
    tokens = torch.from_numpy(hugging_face.windows(folder, text, LENGTH))
    inputs: dict[str, torch.Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0]}))
    with torch.no_grad():
        model(tokens)
    for layer in told["layers"]:
        X = inputs[layer["name"]].double().reshape(-1, 16)
        before, after = (m.get_submodule(layer["name"]).weight.double() for m in (model, other))
        d = (after - before).detach()
        f = 0.5 * float(((X @ d.T) ** 2).sum() / len(X)) + 0.05 * float((d * d).sum())
        assert layer["given"] == pytest.approx(f, rel=1e-4)
        assert layer["pruned"] == int((after == 0).sum())
        assert 0 < layer["bound"] <= layer["objective"] <= layer["given"]
        assert layer["gap"] == pytest.approx((layer["given"] - layer["bound"]) / layer["given"])
        assert layer["dominance"] == pytest.approx(0.1 / float((X * X).mean()), rel=1e-4)
        assert layer["seconds"] > 0
    quick = cli(*words, "--sequence-length", LENGTH, "--damping", 0.1, "--bound-time", 0, "--json", "-")
    for layer, first in zip(told["layers"], json.loads(quick.out)["layers"], strict=True):
        assert 0 < first["bound"] <= layer["bound"]
        assert first["given"] == layer["given"]
    shown = cli(*words, "--sequence-length", LENGTH, "--samples", 5, "--report", tmp_path / "judged.html")
    page = (tmp_path / "judged.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)
    assert "mask gap" in page
    shown = cli(
        *words[:-2], "--text", text, "--sequence-length", LENGTH, "--damping", 1e4, "--report", tmp_path / "λ.html"
    )
    for told_to in (shown.out, (tmp_path / "λ.html").read_text(encoding="utf-8")):
        assert "times the mean diagonal of" in told_to
    assert shown.code == 0
    assert "2 layers with zeros" in shown.out
    unpruned = cli("certify", f"hf:{folder}", "--pruned", f"hf:{folder}", "--text", text)
    assert unpruned.code == 2
    assert "less than one sequence" in unpruned.err or "no zeros" in unpruned.err


def test_a_disk_that_is_full_in_the_middle_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    """Files as large as that of the weights cannot be written, as where the disk is full."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    tensors = {
        "model.layers.0.mlp.up_proj.weight": hugging_face.load_model(folder).get_parameter(
            "model.layers.0.mlp.up_proj.weight"
        )
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["model.safetensors"]) - 1_000, hard))
    try:
        with pytest.raises(InputError, match=r"pruned: cannot be written \(.*too large"):
            hugging_face.save_folder(folder, tmp_path / "pruned", tensors, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir() if "pruned" in path.name] == []
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
