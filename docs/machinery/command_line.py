"""A hook of MkDocs: the page of the command line, written from the commands themselves."""

from __future__ import annotations

import inspect
import re
from html import escape
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from cbs_opt.cli import app
from cbs_opt.cli.app import EPILOG

PAGE, HERE = "reference/command-line.md", "<!-- the commands -->"

EXAMPLE = re.compile(r"^(.*): (cbs-opt .*)$", re.MULTILINE)
"""A line of a help text that shows a command."""


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with all commands in the place of ``HERE``."""
    return markdown.replace(HERE, commands()) if page.file.src_uri == PAGE else markdown


def commands() -> str:
    """Every command: what it does, its arguments and options."""
    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="cbs-opt")
    return "\n".join(_command(name, command, context) for name, command in group.commands.items()) + f"\n{EPILOG}\n"


def _command(name: str, command: Any, parent: Any) -> str:
    context = typer.Context(command, info_name=name, parent=parent)
    parameters = [parameter for parameter in command.get_params(context) if "--help" not in parameter.opts]
    arguments = [_metavar(parameter) for parameter in parameters if parameter.param_type_name == "argument"]
    usage = " ".join(("cbs-opt", name, *arguments, "[OPTIONS]"))
    help_text = EXAMPLE.sub(r"\1: `\2`", inspect.cleandoc(command.help or ""))
    rows = map(_row, parameters)
    table = "| option | what it is | default |\n|---|---|---|\n" + "\n".join(rows)
    return f"## {name}\n\n```text\n{usage}\n```\n\n{help_text}\n\n{table}\n"


def _metavar(parameter: Any) -> str:
    return parameter.metavar or str(parameter.type.name).upper()


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = _code(_metavar(parameter))
    else:
        names = ", ".join(map(_code, (*parameter.opts, *parameter.secondary_opts)))
        names += "" if parameter.is_flag else f" {_code(_metavar(parameter))}"
    default = parameter.default
    unset = parameter.required or default is None or default is False or default == ""
    words = (parameter.help or "").replace("|", "\\|")
    return f"| {names} | {words} | {'' if unset else _code(str(default))} |"


def _code(text: str) -> str:
    """In code font, in a cell of a table."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>"
