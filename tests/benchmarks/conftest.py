"""The benchmarks are run from the repository root and are no part of the package."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be imported, from here and no other place; cbs_opt is the one that is installed, whatever lies here."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)


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
