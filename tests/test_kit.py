"""What a maintainer relies on: one version, hooks that need no network, promises kept."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import cbs_opt
from cbs_opt.version import __version__

ROOT = Path(__file__).parents[1]
SOURCES = [file for room in ("cbs_opt", "models", "solvers") for file in sorted((ROOT / room).rglob("*.py"))]

yaml = pytest.importorskip("yaml")


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_one_version_everywhere() -> None:
    assert version("cbs-opt") == cbs_opt.__version__ == __version__
    assert read_yaml("CITATION.cff")["version"] == __version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cbs_opt.version.__version__"}


def test_what_is_installed_for_tests_and_pages_is_pinned() -> None:
    """A package that ``constraints.txt`` forgets comes in whatever version there is that day."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["test"], *extras["docs"], *extras["transformers"], *extras["report"]]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    names = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in needed}
    assert names <= {name.lower() for name in pinned}


def test_the_citation_has_what_its_format_asks_for_and_names_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Yu", "Serra", "Ramalingam", "Zhe"]
    assert (paper["volume"], paper["start"], paper["end"], paper["year"]) == (162, 25668, 25683, 2022)


def test_hooks_are_local_and_mend_what_nox_mends() -> None:
    repos = read_yaml(".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = repos[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    mended = re.findall(r'"-m", "ruff", ("[^.]*?)"\."', (ROOT / "noxfile.py").read_text(encoding="utf-8"))
    mends = [" ".join(re.findall(r'"([^"]+)"', words)) for words in mended]
    assert [hook["entry"].removesuffix(" --force-exclude") for hook in hooks] == [f"ruff {words}" for words in mends]


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, Any]]]:
    """The functions called by name, and their keywords that are constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            constants = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            yield ast.unparse(node.func), constants


CARRIED = ROOT / "cbs_opt" / "batch" / "carried.py"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(file: Path) -> None:
    """What SECURITY.md promises, as far as the source shows it; ``CARRIED`` is what our processes hand each other."""
    for name, keywords in calls(ast.parse(file.read_text(encoding="utf-8"))):
        assert name not in ("eval", "exec", "os.system", "os.popen", "pickle.load"), name
        assert name != "pickle.loads" or file == CARRIED, name
        assert not keywords.get("shell"), name
        assert not keywords.get("allow_pickle"), name
        if name.endswith(("np.load", "read_array")):
            assert keywords.get("allow_pickle") is False, name
        if name == "torch.load":
            assert keywords.get("weights_only") is True, name


def test_pages_that_are_promised_exist() -> None:
    for name in ("SECURITY.md", "CITATION.cff", "CONTRIBUTING.md", ".github/ISSUE_TEMPLATE/bug_report.md"):
        assert Path(ROOT, name).stat().st_size > 0
