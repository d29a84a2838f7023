"""Trained weights that a framework offers, fetched once into the cache."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from speedsheet.convert.graph.check import one_line
from speedsheet.convert.shipping.weights import Offer
from speedsheet.core.errors import RowFailed
from speedsheet.core.folders import publish, safe_name

_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 20
_MAX_BYTES = 1 << 33


def fetch(offer: Offer, cache: Path, tell: Callable[[float], None] = lambda _done: None) -> Path:
    """Return the offered file in the cache, fetching it unless it is there. `tell` hears the share that is done.

    Raises RowFailed, in one line, where it cannot be fetched or is not what was offered.
    """
    name = safe_name(PurePosixPath(urlsplit(offer.url).path).name, "weights", limit=100)
    folder = cache / f"fetched-{hashlib.sha256(offer.url.encode()).hexdigest()[:24]}"
    try:
        if not folder.exists():
            publish(cache, lambda: folder.name, lambda hidden: _download(offer, hidden / name, tell))
    except FileExistsError:  # another process was first
        pass
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        what = f"the weights cannot be fetched: {one_line(Exception(reason))}"
        raise RowFailed(what, where=offer.url, do="fetch them elsewhere, and give the file: --weights FILE") from error
    return folder / name


def _download(offer: Offer, path: Path, tell: Callable[[float], None]) -> None:
    # the address is the zoo's own, and what arrives is held to its hash and to what the model can take
    with urllib.request.urlopen(offer.url, timeout=_TIMEOUT_S) as answer, path.open("xb") as file:  # noqa: S310
        expected = int(answer.headers.get("Content-Length") or 0)
        digest = hashlib.md5(usedforsecurity=False)
        while part := answer.read(_READ_BYTES):
            digest.update(part)
            file.write(part)
            if file.tell() > _MAX_BYTES:
                raise OSError(f"more than {_MAX_BYTES >> 30} GiB arrive")
            tell(min(file.tell() / max(expected, file.tell()), 1.0))
        if expected and file.tell() != expected:
            raise OSError(f"{file.tell()} of {expected} bytes arrived")
    if offer.md5 and digest.hexdigest() != offer.md5:
        raise OSError(f"its MD5 is {digest.hexdigest()}, and the framework states {offer.md5}")
