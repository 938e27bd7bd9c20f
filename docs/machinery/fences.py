"""A hook of MkDocs: a code block whose info string says more than the language (```sh install) is one all the same.

The words after the language tell ``tests/docs/test_code_blocks.py`` not to run the block there. Repositories show such
a block without them; MkDocs takes it for a line of text.
"""

from __future__ import annotations

import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MORE = re.compile(r"^(```\w+) (?!title=)[^`\n]+$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with languages alone, and titles, which MkDocs shows."""
    return MORE.sub(r"\1", markdown)
