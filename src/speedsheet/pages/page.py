"""A sheet as one HTML file: it opens offline, asks nothing of any host, and takes no text from outside for markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from speedsheet import __version__
from speedsheet.core.errors import MissingExtra
from speedsheet.core.folders import safe_name
from speedsheet.history.sources import Run
from speedsheet.pages.charts import drawn
from speedsheet.pages.content import Content, content
from speedsheet.pages.words import LANGUAGES, phrase, phrases

#: The card that stands beside measured rows, unless another is named.
CARD = "stcp920"
_EXTRA = 'pip install "speedsheet[report]"'


def render(
    runs: Sequence[Run],
    cache_folder: Path,
    *,
    lang: str = "en",
    device: str | None = CARD,
    explained: Path | None = None,
) -> str:
    """Return the page of one or several runs. Raises MissingExtra where what draws charts is not installed."""
    return of_content(content(runs, cache_folder, device, explained), lang)


def of_content(page: Content, lang: str) -> str:
    """Return the HTML of what stands on a page."""
    choices = {
        "precision": list(dict.fromkeys(line.row.precision.upper() for line in page.lines)),
        "engine": list(dict.fromkeys(line.row.engine or line.row.clock for line in page.lines)),
        "run": list(page.runs),
    }
    ours = {"style": asset("page.css"), "script": asset("page.js"), "library": library()}
    return str(
        environment().get_template("page.html.j2").render(
            page=page, lang=lang, languages=LANGUAGES, phrase=phrase, version=__version__, choices=choices,
            words={one: phrases(one) for one in LANGUAGES}, **ours,
        )
    )  # fmt: skip


def check_extra() -> None:
    """Raise MissingExtra where a page cannot be made here."""
    try:
        for name in ("altair", "jinja2", "vl_convert"):
            import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"pages need {error.name}, which is not installed", do=_EXTRA) from error


@cache
def environment() -> Any:
    """Return the templates' environment: every value is escaped, and a name that is missing is an error."""
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("speedsheet.pages", "assets"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["embedded"] = lambda data: Markup(embedded(data))  # noqa: S704  JSON without an angle bracket
    made.filters["ours"] = Markup
    return made


def embedded(data: Any) -> str:
    """Return JSON that may stand inside a script element: no ``<``, so nothing in it ends the element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


@cache
def asset(name: str) -> str:
    """Return a file of the pages' own."""
    return (resources.files("speedsheet.pages") / "assets" / name).read_text(encoding="utf-8")


@cache
def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from vl-convert's wheel; it cannot end its element."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its stub lacks that the snippet may be left out
    return str(bundle()).replace("</script", "<\\/script")


def write_charts(
    runs: Sequence[Run], cache_folder: Path, folder: Path, *, lang: str = "en", device: str | None = CARD
) -> list[Path]:
    """Write every chart of a page as SVG and PNG, named as on the page and rows by their models; return the files."""
    page = content(runs, cache_folder, device)
    names = {
        chart: safe_name(f"{line.row.model.rpartition('/')[2]}_{line.row.precision}", "row") + f"-{chart}"
        for line in page.lines
        for chart in line.charts
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart, spec in page.charts.items():
        for shape in ("svg", "png"):
            written.append(folder / f"{names.get(chart, chart)}.{shape}")
            written[-1].write_bytes(drawn(spec, lang, shape))
    return written
