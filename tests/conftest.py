"""Where the shared data lies, and what is skipped without it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import cbs_opt

# Where CI decides, the draws are the same every time; elsewhere each run explores new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A suite started in the background of a script ignores Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CBS_OPT_DATA", ROOT.parent / "shared" / "data"))
BLOCKS = DATA.parent / "blocks"


def data_file(name: str) -> Path:
    """A file of the shared data; the test is skipped, and says so, where it is missing."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in {DATA}; set CBS_OPT_DATA to the folder that has it")
    return path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shared_block_file" in metafunc.fixturenames:
        files = sorted(BLOCKS.glob("*.npz")) or [None]
        metafunc.parametrize("shared_block_file", files, ids=lambda file: file.stem if file else "missing")


@pytest.fixture
def shared_block(shared_block_file: Path | None) -> cbs_opt.PruningProblem:
    """A block from a real network."""
    if shared_block_file is None:
        pytest.skip(f"no blocks in {BLOCKS}; set CBS_OPT_DATA to the data folder beside it")
    return cbs_opt.PruningProblem.load(shared_block_file)


@pytest.fixture
def stored(shared_block_file: Path) -> list[tuple[int, float]]:
    """Its proven optima: (number of zeros, value)."""
    with np.load(shared_block_file, allow_pickle=False) as arrays:
        return list(zip(arrays["prune"].tolist(), arrays["optimum"].tolist(), strict=True))
