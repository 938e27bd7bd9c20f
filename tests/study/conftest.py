"""The blocks that studies are made of."""

from pathlib import Path

import pytest
from study_blocks import METHODS, make_blocks

from cbs_opt.study import StudyResult, files_subject, run_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three blocks."""
    return make_blocks(tmp_path / "blocks")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Of blocks like those of ``folder``; nothing changes it."""
    blocks = make_blocks(tmp_path_factory.mktemp("study") / "blocks")
    return run_study(files_subject([blocks]), methods=METHODS, sparsities=[0.5, 0.8], jobs=1)
