"""The command line: a file per verb. The only room that prints, parses arguments or exits."""

from __future__ import annotations

from speedsheet.cli.app import main

__all__ = ["main"]
