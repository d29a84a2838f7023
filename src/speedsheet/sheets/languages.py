"""The languages in which a sheet is printed; one more is one file of words and its line here."""

from __future__ import annotations

from collections.abc import Mapping

from speedsheet.core.errors import UsageError
from speedsheet.sheets.chinese import CHINESE
from speedsheet.sheets.words import ENGLISH, Words

LANGUAGES: Mapping[str, Words] = {words.lang: words for words in (ENGLISH, CHINESE)}


def parse_language(text: str) -> Words:
    """Return the words of a language by its name, in either case. Raises UsageError where it has none here."""
    words = LANGUAGES.get(text.strip().lower())
    if words is None:
        raise UsageError(f"{text!r} is not a language of sheets", do=f"choose one of {', '.join(LANGUAGES)}")
    return words
