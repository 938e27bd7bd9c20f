"""The command `cbs-opt`: one file per command, each importing what it needs only when it runs."""

from cbs_opt.cli.app import app, main

__all__ = ["app", "main"]
