"""A hook of MkDocs: the sources of the package in one tree, as the wheel has them, for the reference to be read from.

``solvers/`` and ``models/`` stand at the top of the repository and are ``cbs_opt.solvers`` and ``cbs_opt.models``
(``package-dir`` in pyproject.toml). What reads the docstrings reads files and imports nothing, so it has to find all of
them below one ``cbs_opt``: a temporary folder of links, gone when the site is built.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("models", "solvers")

log = logging.getLogger("mkdocs.hooks.whole_package")

_tree = tempfile.TemporaryDirectory(prefix="cbs-opt-docs-")


@event_priority(100)  # before the plugin that is told
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lay the links, and tell the reference to read there."""
    package = Path(_tree.name, "cbs_opt")
    package.mkdir(exist_ok=True)
    inside = [path for path in (ROOT / "cbs_opt").iterdir() if path.name not in OUTSIDE]
    for path in (*inside, *(ROOT / name for name in OUTSIDE)):
        link = package / path.name
        if not link.is_symlink():
            link.symlink_to(path)
    config.plugins["mkdocstrings"].config["handlers"]["python"]["paths"] = [_tree.name]
    return config


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page as it is, with a warning where the name of a function was taken for that of its module.

    ``cbs_opt.prune`` is both to a reader of files; ``cbs_opt.pruning.prune.prune`` is not.
    """
    if "doc-symbol-heading doc-symbol-module" in html:
        log.warning("%s describes a module; name the function in it by its full path", page.file.src_uri)
    return html
