"""The pages of the book that a class may have open while its bets are: no result, no solution."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Collection
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import write_text

PAGES = ("book/01-introduction", "book/lessons/*", "book/glossary")
RESULT = ".pasted-text, .pasted-inline, .cell_output"  # what a run has made
FOR_TEACHERS = ".admonition.teacher, #what-goes-wrong-and-how-to-catch-it, #wrap-up, .hv-download"
WITHOUT_SEARCH = ".search-button, .search-button-field, #pst-search-dialog"
WITHOUT_NEIGHBOURS = ".prev-next-footer"
NOT_COPIED = ("searchindex", "hematovision-excerpts", "classify", "searchtools", "language_data")
OTHER_HOST = re.compile(r"^(?:[a-z]+:|//)")
INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HematoVision: the open pages</title>
<style>body {{ font: 1.1rem/1.6 sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem;
color-scheme: light dark; }}</style>
<h1>The open pages</h1>
<p>They show no result, so that a bet stays one. Your teacher has the whole book.</p>
<ul>
{links}
</ul>
<p>Nothing here is for diagnosis.</p></html>
"""


def write_open_pages(html: Path, out: Path) -> list[str]:
    """Copy the pages of a built book that give nothing away.

    Left out are all sections that show a number or picture of a run, what is said to teachers
    alone, the search (its index holds every page), and the links to pages that are not there.

    Parameters
    ----------
    html : Path
        The built book.
    out : Path
        A new folder; `index.html` in it lists the pages.

    Returns
    -------
    list of str
        The pages, relative to `out`.

    Raises
    ------
    HematoVisionError
        Where the book lacks one of the pages, or one shows a result outside of its sections.
    """
    from bs4 import BeautifulSoup

    kept: dict[str, str] = {}
    for pattern in PAGES:
        found = sorted(html.glob(f"{pattern}.html"))
        if not found:
            raise HematoVisionError(
                f"expected {pattern}.html in {html}, but there is none: build the book again with "
                "`hv book --force`"
            )
        kept |= {path.relative_to(html).as_posix(): "" for path in found}
    for name in kept:
        soup = BeautifulSoup((html / name).read_text(encoding="utf-8"), "html.parser")
        _close(soup, name)
        _unlink(soup, name, kept.keys())
        kept[name] = soup.h1.get_text().rstrip("#").strip()
        write_text(out / name, str(soup))
        for file in _files(soup, name):
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(html / file, out / file)
    for folder in ("styles", "vendor", "scripts"):  # style sheets and scripts name more of them
        there = html / "_static" / folder
        if there.is_dir():
            shutil.copytree(there, out / "_static" / folder, dirs_exist_ok=True)
    links = (f'<li><a href="{name}">{escape(title)}</a></li>' for name, title in kept.items())
    write_text(out / "index.html", INDEX.format(links="\n".join(links)))
    return list(kept)


def _close(soup: Any, name: str) -> None:
    """Remove what gives something away, and what only teachers read."""
    for tag in soup.select(f"{FOR_TEACHERS}, {WITHOUT_SEARCH}, {WITHOUT_NEIGHBOURS}"):
        tag.decompose()
    while shown := soup.select_one(RESULT):
        section = shown.find_parent("section")
        if section is None or section.h1:
            raise HematoVisionError(
                f"expected no result on {name} outside of a section of its own, but it shows one: "
                "move it below a heading, so that the class's copy can leave it out"
            )
        section.decompose()


def _unlink(soup: Any, name: str, kept: Collection[str]) -> None:
    """Let no link lead to what is not there: its words stay, an entry of a list of pages goes."""
    anchors = {tag["id"] for tag in soup.find_all(id=True)}
    for tag in soup.find_all("a", href=True):
        path, _, anchor = tag["href"].partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        found = target in kept if path else anchor in anchors or not anchor
        if not (found or OTHER_HOST.match(tag["href"])):
            tag.name, tag.attrs = "span", {}
    for entry in reversed(soup.select("nav li")):
        if not entry.find("a"):
            entry.decompose()
    for group in soup.select("nav ul"):
        if not group.find("a"):
            group.decompose()
    for tag in soup.select("script[src]"):
        if any(word in tag["src"] for word in NOT_COPIED):
            tag.decompose()
    for tag in soup.select("link[rel=search], link[rel=index], link[rel=next], link[rel=prev]"):
        tag.decompose()


def _files(soup: Any, name: str) -> list[str]:
    """Return the files that a page loads, relative to the book."""
    found = set()
    for tag in soup.find_all(["script", "img", "link", "source", "video"]):
        address = tag.get("src") or tag.get("href") or ""
        path = unquote(re.split(r"[?#]", address)[0])
        if path and not OTHER_HOST.match(address):
            found.add(posixpath.normpath(posixpath.join(posixpath.dirname(name), path)))
    return sorted(found)
