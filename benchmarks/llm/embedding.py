"""The row of a sentence encoder: `cbs_opt.prune` with its defaults at 50 %, and what is left of its embeddings.

The embedding of a sentence is the mean of the encoder's outputs over its tokens. Calibrated on 1,000 sentences spread
over the text, measured on 500 spread over the test text.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import cbs_opt
from benchmarks.llm import untouched
from benchmarks.llm.row import measured_with, tell
from benchmarks.networks.timing import held_bytes, peak_bytes
from benchmarks.recording import Row
from cbs_opt.errors import InputError
from cbs_opt.network.hugging_face import load_model

if TYPE_CHECKING:
    import torch

SPARSITY = 0.5
CALIBRATION, HELD_OUT = 1_000, 500
LEAST_WORDS = 5
MOST_TOKENS = 128


def measured(folder: Path, text: Path, test_text: Path) -> Row:
    """The row; in a process of its own its memory and its seconds are its own.

    Raises
    ------
    CbsOptError
    """
    model = load_model(folder)
    calibration, held_out = (
        _tokens(folder, sentences(file, count)) for file, count in ((text, CALIBRATION), (test_text, HELD_OUT))
    )
    held = held_bytes()
    started = time.perf_counter()
    found = cbs_opt.prune(model, calibration, SPARSITY, progress=tell)
    seconds = time.perf_counter() - started
    peak = peak_bytes()
    dense = embeddings(model, held_out)
    cosine = cosines(dense, embeddings(found.model, held_out))
    baseline = cosines(dense, embeddings(untouched.magnitude(model, str(SPARSITY)), held_out))
    plain = found.to_dict()
    return {
        "part": "embedding",
        "cosine": float(cosine.mean()),
        "cosine_least": float(cosine.min()),
        "cosine_magnitude": float(baseline.mean()),
        "sentences": len(held_out["input_ids"]),
        "sparsity": found.sparsity,
        "n": plain["n"],
        "seconds": plain["seconds"],
        "seconds_in_all": seconds,
        "memory": {"held": held, "peak": peak},
        "settings": plain["settings"],
        "notes": plain["notes"],
        "environment": measured_with(),
    }


def sentences(file: Path, count: int) -> list[str]:
    """At most ``count`` sentences of at least five words, evenly spread over a text without its headings.

    Raises
    ------
    InputError
        The file cannot be read, or has no sentence.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error}); UTF-8 is needed") from None
    prose = [line.strip() for line in lines if not line.strip().startswith("=")]
    found = [part for line in prose for part in line.split(" . ") if len(part.split()) >= LEAST_WORDS]
    if not found:
        raise InputError(f"{file}: has no sentence of {LEAST_WORDS} words; give a longer text")
    return found[:: max(1, len(found) // count)][:count]


def embeddings(model: torch.nn.Module, tokens: Any) -> NDArray[np.float64]:
    """The mean of the last hidden states over the tokens of each sentence, shape (sentences, width)."""
    import torch

    means = []
    with torch.inference_mode():
        for start in range(0, len(tokens["input_ids"]), 32):
            part = {name: values[start : start + 32] for name, values in tokens.items()}
            states = model(**part).last_hidden_state.double()
            mask = part["attention_mask"][:, :, None].double()
            means.append((states * mask).sum(dim=1) / mask.sum(dim=1))
    return np.asarray(torch.cat(means).numpy(), dtype=np.float64)


def cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosine of each row of one with the same row of the other."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths)


def _tokens(folder: Path, texts: list[str]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer(texts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
