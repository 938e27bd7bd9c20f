"""Where the shared data lies, and what is skipped without it; the command line in this process; small networks."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from commandline import Cli, Run
from hypothesis import settings

import cbs_opt
from cbs_opt.batch.solver_process import ONE_THREAD

if TYPE_CHECKING:
    from cbs_opt.network.data import Data

pytest_plugins = ["awkward_networks"]

# Where CI decides, the draws are the same every time; elsewhere each run explores new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A suite started in the background of a script ignores Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Processes that share the cores compute with one thread each, which their libraries read when they start."""
    for name, threads in ONE_THREAD.items():
        os.environ.setdefault(name, threads)


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


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``cbs-opt`` with these words."""
    from cbs_opt.cli import main

    def run(*words: object) -> Run:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return Run(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def digits() -> Data:
    from cbs_opt.network.data import digits_data

    return digits_data()


@pytest.fixture
def digits_network() -> Any:
    from cbs_opt.network.load import load_network

    return load_network("digits")


@pytest.fixture
def conv_network() -> tuple[Any, Any, Any]:
    """conv(1→4) – BN – ReLU – grouped conv(4→4, 2 groups) – ReLU – mean – linear(4→3), and 60 images 6×6."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()
    rng = np.random.default_rng(5)
    return model, rng.normal(size=(60, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 60)
