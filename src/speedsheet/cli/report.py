"""`speedsheet report RUN... -o sheet.html`: a sheet as a page that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from speedsheet.cli.options import DEBUG, LANGUAGE

if TYPE_CHECKING:
    from speedsheet.sheets.words import Words


@click.command("report")
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.html", help="Where it goes; sheet.html.")
@click.option("--charts", type=click.Path(path_type=Path), metavar="DIR", help="Every chart as SVG and PNG, into DIR.")
@click.option("--device", default="stcp920", show_default=True, metavar="NAME|FILE.toml|none",
              help="The modelled card beside what was measured.")  # fmt: skip
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language that it opens in.")
@DEBUG
def verb(runs: tuple[str, ...], output: Path | None, charts: Path | None, device: str, words: Words) -> int:
    """Write runs, records or published sheets as one page: sheet, charts, details of every row, in both languages.

    A RUN is "latest" (the default), a run's folder or its sheet.json, a record, a store, or a published sheet. The page
    is one file that opens offline and asks nothing of any host.
    """
    from speedsheet.cli import screen
    from speedsheet.history.sources import load
    from speedsheet.host.places import cache_folder, data_folder
    from speedsheet.pages.page import check_extra, render, write_charts

    check_extra()
    found = [load(name, cache_folder()) for name in runs or ("latest",)]
    card = None if device == "none" else device
    out = screen.output()
    if charts is not None:
        for path in write_charts(found, cache_folder(), charts, lang=words.lang, device=card):
            out.write(f"{path}\n")
        if output is None:
            return 0
    path = output or Path("sheet.html")
    text = render(found, cache_folder(), lang=words.lang, device=card, explained=data_folder() / "explanations")
    path.write_text(text, encoding="utf-8")
    out.write(f"{path.absolute()}\n")
    return 0
