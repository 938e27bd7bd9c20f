"""Study files: what they may say, and what is said of those that may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbs_opt.batch import Asked, Settings, read_study
from cbs_opt.batch.settings import as_bytes
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.evaluation.catalogue import method

WHOLE = """
blocks = ["blocks/*.npz", "/other/manifest.json"]
methods = ["cbs", "bnb"]
sparsity = [0.5, 0.80]
prune = 3
pattern = ["2:4"]
seeds = [0, 1]
store = "results.sqlite"
jobs = 4
backend = "dask"
scheduler = "tcp://host:8786"
time_limit = 60
memory_limit = "4 GB"
gap = 1e-4

[options.cbs]
trials = 10
"""


def study(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(text)
    return file


def test_a_study_file_describes_it_all(tmp_path: Path) -> None:
    settings = read_study(study(tmp_path, WHOLE))
    assert settings == Settings(
        blocks=(str(tmp_path / "blocks/*.npz"), "/other/manifest.json"),
        methods=("cbs", "bnb"),
        asked=(Asked("sparsity", "0.5"), Asked("sparsity", "0.8"), Asked("prune", "3"), Asked("pattern", "2:4")),
        seeds=(0, 1),
        store=str(tmp_path / "results.sqlite"),
        jobs=4,
        backend="dask",
        scheduler="tcp://host:8786",
        time_limit=60.0,
        memory_limit=4_000_000_000,
        gap=1e-4,
        options={"cbs": {"trials": 10}},
    )
    assert settings.options_of(method("cbs")) == {"trials": 10}
    assert settings.options_of(method("bnb")) == {"gap": 1e-4}
    assert settings.limits_of(method("bnb")) == {"time_limit": 60.0, "memory_limit": 2e9}
    assert settings.limits_of(method("cbs")) == {}


def test_flags_override(tmp_path: Path) -> None:
    settings = read_study(study(tmp_path, WHOLE)).with_values({"prune": ["7"], "jobs": 1})
    assert (settings.asked, settings.jobs, settings.methods) == ((Asked("prune", "7"),), 1, ("cbs", "bnb"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method = ['bnb']", "method: unknown; did you mean methods?"),
        ("timelimit = 3", "timelimit: unknown; did you mean time_limit?"),
        ("methods = ['bnbb']", "'bnbb': unknown; did you mean bnb?"),
        ("[options.cbs]\ntrails = 3", "options.cbs.trails: unknown; did you mean trials?"),
        ("[options.cbss]\ntrials = 3", "'cbss': unknown; did you mean cbs?"),
        ("[options.magnitude]\nx = 3", "options.magnitude.x: unknown; there are none"),
        ("[options.bnb]\ntime_limit = 3", "options.bnb.time_limit: is set for all methods by time_limit"),
        ("[options.bnb]\nstart = 3", "options.bnb.start: unknown"),
        ("[options.cbs]\ntrials = [3]", "a number or a word is needed"),
        ("options = 3", "give a table for each method"),
        ("backend = 'daks'", "did you mean dask?"),
        ("sparsity = 1.5", "sparsity: is 1.5"),
        ("sparsity = 'much'", "sparsity: is 'much'"),
        ("prune = -1", "prune: is '-1'"),
        ("pattern = '4:2'", "pattern: is '4:2'"),
        ("seeds = [-1]", "seeds: is -1"),
        ("jobs = 0", "jobs: is 0"),
        ("jobs = 1.5", "jobs: is 1.5"),
        ("time_limit = 0", "time_limit: is 0"),
        ("time_limit = inf", "time_limit: is inf"),
        ("gap = -1.0", "gap: is -1.0"),
        ("memory_limit = '4 elephants'", "memory_limit: is '4 elephants'"),
        ("memory_limit = '4MB'", "memory_limit: is 4 MB; a solver process needs"),
        ("store = ''", "store: is ''"),
        ("blocks = []", "blocks: is []"),
        ("methods = true", "methods: is True"),
        ("jobs = ", "is not TOML"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CbsOptError) as caught:
        read_study(study(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_study_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.toml: cannot be read"):
        read_study(tmp_path / "study.toml")


@pytest.mark.parametrize(
    ("text", "size"), [("500000000", 500_000_000), ("1.5GB", 1_500_000_000), ("2GiB", 2**31), ("3 g", 3 * 10**9)]
)
def test_sizes(text: str, size: int) -> None:
    assert as_bytes(text) == size


@pytest.mark.parametrize("text", ["sparsity 0.8", "prune 26", "pattern 2:4"])
def test_what_is_asked_has_one_spelling(text: str) -> None:
    assert str(Asked.parse(text)) == text
    assert Asked("sparsity", "0.80") == Asked("sparsity", ".8")
