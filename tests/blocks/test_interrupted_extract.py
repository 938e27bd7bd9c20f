"""An extraction that is interrupted or terminated leaves nothing, so that the next one can begin at once."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import cbs_opt
from cbs_opt.blocks.folder import BlockFolder
from cbs_opt.errors import InputError


def test_an_extraction_that_is_interrupted_leaves_nothing(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    def stop(words: str) -> None:
        if words.startswith("fc2"):
            assert (tmp_path / "b.partial").is_dir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cbs_opt.extract(digits_network, digits, tmp_path / "b", samples=50, progress=stop)
    assert not list(tmp_path.iterdir())


def test_an_extraction_that_is_terminated_leaves_nothing(tmp_path: Path, digits_network: Any, digits: Any) -> None:
    """SIGTERM, which clusters send and which would end the process at once."""

    def stop(words: str) -> None:
        if words.startswith("fc2"):
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        cbs_opt.extract(digits_network, digits, tmp_path / "b", samples=50, progress=stop)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before
    assert cbs_opt.extract(digits_network, digits, tmp_path / "b", samples=50, targets=["fc3"]).blocks


def test_an_interrupt_while_a_folder_is_removed_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = shutil.rmtree

    def impatient(place: Path, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        removed(place, **options)

    monkeypatch.setattr(shutil, "rmtree", impatient)
    with pytest.raises(KeyboardInterrupt), BlockFolder(tmp_path / "b"):
        raise InputError("of the body")
    assert not list(tmp_path.iterdir())
