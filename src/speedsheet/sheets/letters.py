"""Text that came from outside, made fit for one cell of a table; and the ASCII stand-ins for our own signs."""

from __future__ import annotations

import unicodedata

BLANK = "\N{EN DASH}"
_STAND_INS = str.maketrans(
    {
        BLANK: "-",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
        "·": "|",
        "…": "~",
        "─": "-",
        "█": "#",
        "\N{MULTIPLICATION SIGN}": "x",
        "━": "=",
        "╌": "-",
    }
    | dict.fromkeys("▉▊▋▌", "#")
    | dict.fromkeys("▍▎▏", ".")
)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str) -> str:
    """Return the text on one line: control, invisible and direction-changing characters become spaces."""
    return " ".join("".join(" " if unicodedata.category(c) in _UNSEEN else c for c in text).split())


def to_ascii(text: str) -> str:
    """Return the text for a stream that has ASCII only; other letters become ``?``."""
    return text.translate(_STAND_INS).encode("ascii", "replace").decode("ascii")
