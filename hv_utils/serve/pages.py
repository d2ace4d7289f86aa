"""Pages that hold everything: one file, opened from disk, which asks no server for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from hv_utils.ground.errors import HematoVisionError

SUFFIXES = (".html", ".htm")


def check_name(out: str | Path) -> Path:
    """Return the path of a page that is to be written.

    Raises
    ------
    HematoVisionError
        Where its name does not end in `.html`.
    """
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise HematoVisionError(
            f"expected a name ending in .html for the page, but got {out}: "
            f"name it as in {out.with_suffix('').name or 'page'}.html"
        )
    return out


def shared_style() -> str:
    """Return the style that these pages share."""
    return _static("shared.css")


def fill(name: str, facts: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return a page: its template with style, script, facts and pictures in their places.

    Parameters
    ----------
    name : str
        Of its `.html`, `.css` and `.js` among the static files; `shared.css` and `shared.js` go
        before them.
    facts : mapping
        What its script works on.
    pictures : mapping of str to str
        By their names, as base64; they lie in it as text and become pictures when looked at.

    Returns
    -------
    str
    """
    page = _static(f"{name}.html")
    page = page.replace("/* style */", shared_style() + _static(f"{name}.css"))
    page = page.replace("/* script */", _static("shared.js") + _static(f"{name}.js"))
    texts = (f'<script type="text/plain" id="{n}">{text}</script>' for n, text in pictures.items())
    page = page.replace("<!-- pictures -->", "\n".join(texts))
    # No "<" of a file name or a reason may end the script that holds it.
    told = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
    return page.replace("/* facts */", told)


def _static(name: str) -> str:
    return (files("hv_utils.serve") / "static" / name).read_text(encoding="utf-8")
