"""`speedsheet serve`: what is being measured now, and what was, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from speedsheet.cli.options import DEBUG, LANGUAGE

if TYPE_CHECKING:
    from speedsheet.sheets.words import Words

_PORT = 8920


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Another one needs --token.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True, metavar="N", help="Where it listens."
)
@click.option("--token", envvar="SPEEDSHEET_TOKEN", metavar="TEXT", help="What every request must bring.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="The data folder; yours by default.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language that pages open in.")
@DEBUG
def verb(host: str, port: int, token: str | None, data: Path | None, words: Words) -> int:
    """Show a running sheet as it goes, and every run and record, until Ctrl-C.

    It reads files and asks no worker, so that what it shows is not disturbed. It listens on this machine alone;
    on another address every request needs the token (http://HOST:PORT/?token=TEXT, or Authorization: Bearer TEXT).
    """
    from speedsheet.cli import screen
    from speedsheet.core.errors import MissingExtra
    from speedsheet.host.places import cache_folder, data_folder
    from speedsheet.pages.page import check_extra
    from speedsheet.pages.server import Place, application, checked

    checked(host, token)
    check_extra()
    place = Place((data or data_folder()).absolute(), cache_folder(), host, token, words.lang)
    served = application(place)
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        do = 'pip install "speedsheet[serve]"'
        raise MissingExtra("serve needs uvicorn, which is not installed", do=do) from error
    screen.errors().write(
        f"http://{f'[{host}]' if ':' in host else host}:{port}/ shows {place.data} (Ctrl-C ends it)\n"
    )
    uvicorn.run(served, host=host, port=port, log_level="warning", access_log=False, server_header=False)
    return 0
