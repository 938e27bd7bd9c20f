"""Links between pages, and the pictures in them, lead somewhere: to a file, and to a heading or anchor in it.

``nox -s docs`` has MkDocs check the same of the pages of the site; this needs nothing, and looks at README and the
other pages of the root as well. Pages in ``docs/`` link to nothing outside ``docs/``: the site would not have it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]

CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|srcset|href)=\"([^\"]+)\"")
ABSOLUTE = re.compile(r"[a-z]+:")


def prose(page: Path) -> str:
    """The page without its code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Where the page leads within the repository."""
    found = ["".join(groups) for groups in LINK.findall(prose(page))]
    return [target for target in found if not ABSOLUTE.match(target)]


def slug(title: str) -> str:
    """The anchor of a heading, as MkDocs makes it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page: headings, and what stands there as HTML."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = [slug(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    described = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    return {*headings, *re.findall(r'id="([^"]+)"', text), *described}


def test_anchors_are_as_mkdocs_makes_them() -> None:
    assert slug("`cbs`, the method") == "cbs-the-method"
    assert slug("Selection (CBS-S): 2:4 & [more](x.md)") == "selection-cbs-s-24-more"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if DOCS in page.parents:
            assert file.is_file(), f"{page.name} links to the folder {target}; name its index.md"
            assert DOCS in file.parents, f"{page.name} links to {target}, which the site does not have; name it instead"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} links to {target}; the page has {sorted(anchors(file))}"
