"""Checks of the built book: links, anchors, pictures, and that no page asks another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from hv_utils.ground.errors import HematoVisionError

LOADED = {
    "img": "src",
    "script": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"}
LOADED_LINKS |= {"dns-prefetch", "manifest", "shortcut", "apple-touch-icon"}
FOREIGN = re.compile(r"""(?:https?:)?//[\w-]+\.[\w.-]+""")
CSS_FOREIGN = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
NAMESPACE = "www.w3.org"
FILE_NAME = re.compile(r"(^|/)[^/\s]+\.(png|jpe?g|gif|svg|webp)$", re.IGNORECASE)
LEFT_OVER = re.compile(r"\{(?:glue|term|cite|ref|doc|numref|numbered)[:\w]*\}`?")


def check_links(html: Path | str) -> list[str]:
    """Look through every page of a built book.

    Parameters
    ----------
    html : Path or str
        Folder of the built book.

    Returns
    -------
    list of str
        One line for each fault, `page: what is wrong`; empty where there is none. Faults are: a
        link to a page or an anchor that is not there; a missing picture; a picture without
        alternative text; a script, style or picture from another host; a role left unrendered.

    Raises
    ------
    HematoVisionError
        Where the folder holds no page.
    """
    html = Path(html).resolve()
    pages = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(html.rglob("*.html"))
        if "_static" not in path.relative_to(html).parts
    }
    if not pages:
        raise HematoVisionError(
            f"expected a built book, but {html} holds no page: build it first with `hv book`"
        )
    anchors = {path: _anchors(page) for path, page in pages.items()}
    faults = []
    for path, page in pages.items():
        found = [*_links(path, page, anchors, html), *_foreign(page), *_pictures(page)]
        found += [f"left as it stands: {role}" for role in _left_over(page)]
        faults += [f"{path.relative_to(html)}: {fault}" for fault in dict.fromkeys(found)]
    for path in sorted(html.rglob("*.css")):
        for url in CSS_FOREIGN.findall(path.read_text(encoding="utf-8", errors="replace")):
            faults.append(f"{path.relative_to(html)}: loads {url}")
    return faults


def _anchors(page: BeautifulSoup) -> set[str]:
    return {tag["id"] for tag in page.find_all(id=True)} | {
        tag["name"] for tag in page.find_all("a", attrs={"name": True})
    }


def _links(
    path: Path, page: BeautifulSoup, anchors: dict[Path, set[str]], html: Path
) -> Iterator[str]:
    """Find targets inside the book that are not there."""
    for tag in page.find_all(["a", "link", *LOADED]):
        url = tag.get("href") or tag.get(LOADED.get(tag.name, "href"))
        parts = urlsplit(url or "")
        if not url or parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists() or not target.is_relative_to(html):
            yield f"no such file: {url}"
        elif unquote(parts.fragment) not in {"", *anchors.get(target, {unquote(parts.fragment)})}:
            yield f"no such anchor: {url}"


def _foreign(page: BeautifulSoup) -> Iterator[str]:
    """Find what a browser would fetch from another host without a click."""
    for tag in page.find_all(["link", *LOADED]):
        if tag.name == "link" and not LOADED_LINKS & set(tag.get("rel", [])):
            continue
        url = tag.get("href") if tag.name == "link" else tag.get(LOADED[tag.name])
        if url and (urlsplit(url).netloc or urlsplit(url).scheme in ("http", "https")):
            yield f"loads {url}"
    for tag in page.find_all("style"):
        yield from (f"loads {url}" for url in CSS_FOREIGN.findall(tag.get_text()))
    for tag in page.find_all("script", src=False):
        for url in FOREIGN.findall(tag.get_text()):
            if NAMESPACE not in url:
                yield f"a script names {url}"


def _pictures(page: BeautifulSoup) -> Iterator[str]:
    """Find pictures that a blind reader cannot read."""
    for tag in page.find_all("img"):
        text = (tag.get("alt") or "").strip()
        if not text or FILE_NAME.search(text):
            yield f"a picture without alternative text: {tag.get('src')}"


def _left_over(page: BeautifulSoup) -> Iterator[str]:
    """Find roles that were printed instead of being carried out."""
    main = page.find("main") or page
    for text in main.find_all(string=LEFT_OVER):
        if not any(isinstance(tag, Tag) and tag.name in ("code", "pre") for tag in text.parents):
            yield LEFT_OVER.search(text)[0]
