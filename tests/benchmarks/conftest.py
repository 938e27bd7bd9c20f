"""The benchmarks are run from the repository root and are no part of the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from from_root import import_from_root


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be imported, from here and no other place."""
    import_from_root(monkeypatch, "benchmarks")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a language model and two texts."""
    from tiny_llama import WORDS, write_folder

    made = tmp_path_factory.mktemp("llm")
    write_folder(made / "model")
    for seed, name in enumerate(("valid", "test")):
        words = np.random.default_rng(seed).choice(WORDS, 400)
        sentences = [" ".join(part) for part in np.split(words, 50)]
        (made / f"{name}.txt").write_text(" = Heading = \n " + " . ".join(sentences) + " . \n", encoding="utf-8")
    return made
