"""`speedsheet`: finds the verb, and turns whatever goes wrong into one line and an exit code.

0: every row has its number. 1: some have not. 2: the command was wrong. To `guard` 1 says that a slowdown is
established, and never that something went wrong: that is 3.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from speedsheet import __version__
from speedsheet.cli.options import DEBUG
from speedsheet.cli.seam import Measure
from speedsheet.core.errors import SpeedsheetError, UnknownName, UsageError

OK, SOME_FAILED, WRONG_COMMAND, INTERRUPTED = 0, 1, 2, 130
#: What an error is to verbs to whom 1 says something else.
_FAILED = {"guard": 3}
_VERBS = (
    "sheet",
    "run",
    "compare",
    "guard",
    "history",
    "verify",
    "replay",
    "report",
    "serve",
    "explain",
    "check",
    "twin",
    "plan",
    "compile",
    "models",
    "engines",
    "clocks",
)


class _Verbs(click.Group):
    """Verbs by the name of their file, imported when they are called."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            from speedsheet.plugins import did_you_mean

            raise UnknownName(
                f"no command is called {name!r}", do=f"{did_you_mean(name, _VERBS)}; see: speedsheet --help"
            )
        verb: click.Command = importlib.import_module(f"speedsheet.cli.{name}").verb
        return verb


@click.group(cls=_Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="speedsheet", message="%(prog)s %(version)s")
@DEBUG
@click.pass_context
def _speedsheet(context: click.Context) -> None:
    """Measure inference and print speed sheets that can be checked."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(argv: Sequence[str] | None = None, *, measure: Measure | None = None) -> int:
    """Run one command and return its exit code; never raises for what a user can do.

    `measure` is the seam for tests: what measures the rows in place of `bench.sheet.measure_sheet`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _invoked(list(arguments), measure)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left; say nothing more, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the one place where errors become words
        if "--debug" in arguments:
            traceback.print_exc()
        line, code = _explained(error, arguments)
        print(f"speedsheet: {' '.join(line.split())}", file=sys.stderr)
        return _FAILED.get(_verb(arguments), code) if code == SOME_FAILED else code
    return code


def _invoked(arguments: list[str], measure: Measure | None) -> int:
    try:
        with _speedsheet.make_context("speedsheet", arguments, obj=measure) as context:
            code = _speedsheet.invoke(context)
    except click.exceptions.Exit as leaving:  # --help and --version leave so
        return leaving.exit_code
    return code if isinstance(code, int) else OK


def _explained(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """Return the line to print and the exit code."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, click.ClickException):
        return _click_line(error, arguments), WRONG_COMMAND
    if isinstance(error, SpeedsheetError):
        return str(error), WRONG_COMMAND if isinstance(error, UsageError) else SOME_FAILED
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", SOME_FAILED
    said = f": {error}" if str(error) else ""
    return f"internal error, {type(error).__name__}{said}; --debug shows where", SOME_FAILED


def _verb(arguments: Sequence[str]) -> str:
    """Return the verb that was typed, "" where none was."""
    return next((argument for argument in arguments if argument in _VERBS), "")


def _click_line(error: click.ClickException, arguments: Sequence[str]) -> str:
    """Say a complaint of the argument parser as our own are said: what, and what to do."""
    context: Any = getattr(error, "ctx", None)
    verb = _verb(arguments)
    help_command = " ".join(["speedsheet", *([verb] if verb else []), "--help"])
    if isinstance(error, click.NoSuchOption):
        near = " or ".join(error.possibilities or ())
        return f"no option {error.option_name}; {f'did you mean {near}? ' if near else ''}see: {help_command}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        named = isinstance(error.param, click.Option)
        missing = error.param.opts[0] if named else error.param.make_metavar(context)
        return f"{missing} is missing; see: {help_command}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{error.param.opts[0]}: {error.message.rstrip('.')}; see: {help_command}"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see: {help_command}"
