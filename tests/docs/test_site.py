"""What the site promises: every page in the navigation, a page for every method, a bibliography that is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from from_root import import_from_root

from cbs_opt.evaluation.catalogue import methods
from cbs_opt.models import FORMULATIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

yaml = pytest.importorskip("yaml")


def in_navigation(entry: Any) -> list[str]:
    """The pages of a part of the navigation, in their order."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in in_navigation(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    pages = in_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    assert sorted(pages) == there


@pytest.fixture
def machinery(monkeypatch: pytest.MonkeyPatch) -> None:
    """``docs.machinery`` can be imported, from here and no other place."""
    import_from_root(monkeypatch, "docs")


@pytest.fixture(scope="module")
def facts() -> dict[str, str]:
    """The table of each method, made in a process of its own: here other tests have patterns of their own."""
    code = (
        "import cbs_opt, json, sys; sys.path.insert(0, sys.argv[1]); "
        "from cbs_opt.evaluation.catalogue import methods; from docs.machinery.method_facts import facts; "
        "print(json.dumps({name: facts(spec) for name, spec in methods().items()}))"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code, ROOT], capture_output=True, text=True, check=True)
    tables: dict[str, str] = json.loads(run.stdout)
    return tables


@pytest.mark.parametrize("name", list(methods()))
def test_every_method_has_its_page(name: str, facts: dict[str, str]) -> None:
    page = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == ["Mathematics", "Cost", "When to take it", "Reference"]
    assert facts[name] in page, "run `python docs/machinery/method_facts.py`"
    assert f"({name}.md)" in (DOCS / "methods" / "index.md").read_text(encoding="utf-8")


def test_no_page_is_about_a_method_that_is_gone() -> None:
    about = {page.stem for page in (DOCS / "methods").glob("*.md")} - {"index", "bounds"}
    assert about == set(methods())


@pytest.mark.parametrize(
    "reference",
    [spec.reference for spec in (*methods().values(), *FORMULATIONS.values())],
)
def test_the_bibliography_has_what_methods_and_formulations_are_from(reference: str) -> None:
    entries = (DOCS / "bibliography.md").read_text(encoding="utf-8").splitlines()
    for work in reference.split(";"):
        author, years = re.match(r"\s*(\w+)", work), re.findall(r"\b(?:19|20)\d\d\b", work)
        for year in years:
            assert author
            assert any(author[1] in entry and year in entry for entry in entries), work


def test_figures_are_as_their_program_draws_them(machinery: None) -> None:
    from docs.machinery.figures.__main__ import IMAGES, drawn

    for name, svg in drawn().items():
        assert (IMAGES / name).read_text(encoding="utf-8") == svg, "run `python -m docs.machinery.figures`"
