"""The study's sentence encoder: its cosines, and what they are taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_llama import WORDS, write_folder

transformers = pytest.importorskip("transformers")


def written(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "llm.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_sentence_encoder_with_the_defaults(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cosine is computed anew, one sentence after the other and so without padding."""
    import cbs_opt
    from benchmarks.llm import command, embedding

    folder = tmp_path / "encoder"
    write_folder(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "?"
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(WORDS) + 1
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    found: list[Any] = []
    prune = cbs_opt.prune
    monkeypatch.setattr(
        embedding.cbs_opt, "prune", lambda *args, **more: found.append(prune(*args, **more)) or found[-1]
    )
    words = [
        "embedding",
        "--model",
        str(folder),
        "--text",
        f"{place}/valid.txt",
        "--test-text",
        f"{place}/test.txt",
        "--out",
        str(tmp_path),
    ]
    assert command.main(words) == 0
    (row,) = written(tmp_path)
    dense = transformers.AutoModel.from_pretrained(folder).eval()
    cosines = []
    for sentence in embedding.sentences(place / "test.txt", 500):
        tokens = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            means = [model(input_ids=tokens).last_hidden_state[0].mean(dim=0) for model in (dense, found[0].model)]
        cosines.append(float(torch.nn.functional.cosine_similarity(*means, dim=0)))
    assert row["cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)
    assert row["cosine_least"] == pytest.approx(min(cosines), abs=1e-5)
    assert row["sparsity"] >= 0.5
    page = (tmp_path / "llm.md").read_text(encoding="utf-8")
    assert f"| ours | {row['cosine']:.4f} | " in page
    assert command.main(words) == 0
    assert len(written(tmp_path)) == 1


def test_mean_pooled_embeddings_leave_padding_out() -> None:
    from benchmarks.llm.embedding import cosines, embeddings

    class Known(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            states = torch.stack([input_ids, input_ids**2], dim=2).float()
            return type("Answer", (), {"last_hidden_state": states})

    tokens = {
        "input_ids": torch.tensor([[1, 3, 9], [2, 2, 2]]),
        "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
    }
    assert embeddings(Known(), tokens).tolist() == [[2.0, 5.0], [2.0, 4.0]]
    assert cosines(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]])) == pytest.approx(0.96)


def test_sentences_are_spread_over_the_text(tmp_path: Path) -> None:
    from benchmarks.llm.embedding import sentences

    file = tmp_path / "text.txt"
    lines = [f"this is sentence number {i} . too short ." for i in range(10)]
    file.write_text("= a heading that is no sentence at all =\n" + "\n".join(lines), encoding="utf-8")
    assert sentences(file, 5) == [f"this is sentence number {i}" for i in (0, 2, 4, 6, 8)]
    assert len(sentences(file, 99)) == 10
