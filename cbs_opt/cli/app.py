"""The application `cbs-opt`: all its commands, and how every error becomes a message and an exit code.

Exit codes: 0 done; 1 finished, but not all that was asked for (a block failed, a proof was not
reached, standard output could not be written); 2 bad input; 70 an error nobody expected; 130 interrupted.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from cbs_opt.cli import (
    assemble,
    batch,
    certify,
    compare,
    export,
    extract,
    instances,
    methods,
    prune,
    report,
    shrink,
    solve,
    study,
    warmup,
)
from cbs_opt.cli.output import sentence
from cbs_opt.cli.streams import OutputError, standard_output
from cbs_opt.errors import CbsOptError

NOT_ALL = 1
BAD_INPUT = 2
UNEXPECTED = 70
INTERRUPTED = 130

_USAGE_ERROR = typer.BadParameter.__mro__[2]  # ClickException: typer exports its children only

EPILOG = (
    "Exit codes: 0 done; 1 finished, but a block failed or a proof was not reached; 2 bad input; "
    "70 unexpected error; 130 interrupted."
)

app = typer.Typer(
    name="cbs-opt",
    help="Prune neural networks by mathematical optimization, with a proven gap for every answer.",
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    study.study,
    prune.prune,
    shrink.shrink,
    extract.extract,
    batch.batch,
    report.report,
    assemble.assemble,
    solve.solve,
    compare.compare,
    certify.certify,
    export.export,
    methods.methods,
    warmup.warmup,
):
    app.command()(command)
app.add_typer(instances.app, name="instances")
for told in (*app.registered_commands, *instances.app.registered_commands):
    paragraphs = inspect.cleandoc(told.callback.__doc__ or "").split("\n\n")
    told.help = "\n\n".join(
        " ".join(paragraph.split()) for paragraph in paragraphs
    )  # typer would break lines in the help where the source does


def _print_version(wanted: bool) -> None:
    if wanted:
        from cbs_opt.version import __version__

        typer.echo(f"cbs-opt {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error becomes one sentence on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with standard_output(), _log_on_stderr(debug):
            code = app(args=words, prog_name="cbs-opt", standalone_mode=False)
    except BrokenPipeError:
        return NOT_ALL  # whatever read our output has closed the pipe; nobody is left to be told
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)
    if code == INTERRUPTED:
        return _interrupted()
    return code if isinstance(code, int) else 0


@contextmanager
def _log_on_stderr(wanted: bool) -> Iterator[None]:
    """Inside, the package's log goes to stderr, if that is ``wanted``."""
    if not wanted:
        yield
        return
    import logging

    log, handler = logging.getLogger("cbs_opt"), logging.StreamHandler()
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(logging.NOTSET)
        log.removeHandler(handler)


def _report(error: Exception) -> int:
    if isinstance(error, _USAGE_ERROR):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "cbs-opt"
        message = sentence(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
        return _fail(f"{message}; see `{command} --help`", BAD_INPUT)
    if isinstance(error, OutputError):
        return _fail(sentence(error), NOT_ALL)
    if isinstance(error, CbsOptError):
        return _fail(sentence(error), BAD_INPUT)
    if isinstance(error, OSError) and error.filename is not None:
        return _fail(f"{error.filename}: {error.strerror}", BAD_INPUT)
    return _fail(f"{sentence(error)}; this was not expected, run again with --debug and report it", UNEXPECTED)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return INTERRUPTED
