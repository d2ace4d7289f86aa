"""Sphinx extension of the book: pages that everybody can read, search and take along.

The theme's own faults for readers with a screen reader are mended as each page is written; figures
are shown at the size they were drawn for, whatever their resolution; the search shows excerpts
where the browser may not open other pages, as from disk; the download button gives the executed
notebook.
"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

DOTS_PER_INCH = 100  # of the page: a figure of 7.2 inches is as wide as the text
EXCERPTS = "_static/hematovision-excerpts.js"
SEARCH = Path(__file__).with_name("search.js")
ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.DOTALL)
NO_TEXT = re.compile(
    r'<(script|style|svg)\b.*?</\1>|<a class="headerlink".*?</a>|<[^>]*>', re.DOTALL
)
MENDED = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        # The arrow that opens the sections of a chapter has no name.
        (
            r'(<a class="[^"]*\breference internal\b[^"]*" href="[^"]*">\s*([^<]*?)\s*</a>'
            r"<details[^>]*><summary)>",
            r'\1 aria-label="Sections of \2">',
        ),
        # Names that leave out what the button shows.
        (
            r'(<button class="btn search-button-field[^>]*?) title="Search" aria-label="Search"',
            r"\1",
        ),
        (r'(<i class="theme-switch [^>]*?) title="[^"]*"', r"\1"),
        # The side bar, with the logo, lies in no landmark.
        (r'<div id="pst-primary-sidebar"', r'\g<0> role="complementary" aria-label="This book"'),
        # A role that is no longer one, and no item of a list.
        (r'role="doc-biblioentry"', 'role="listitem"'),
        # The corner of a table heads nothing.
        (r"<th\b([^>]*)>((?:\s|&nbsp;|&#160;|\xa0|<p>\s*</p>)*)</th>", r"<td\1>\2</td>"),
        # From disk a browser would open a notebook as text.
        (r'<a href="[^"]*\.ipynb" target="_blank"', r"\g<0> download"),
    )
)


def mend(page: str) -> str:
    """Return a page without the faults that its theme gives it."""
    for pattern, by in MENDED:
        page = pattern.sub(by, page)
    return page


def mend_pages(app: Sphinx) -> None:
    """Mend every page as it is written."""
    templates = getattr(app.builder, "templates", None)
    if templates:
        render = templates.render
        templates.render = lambda name, context: mend(render(name, context))


def offer_notebooks(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Offer the executed notebooks of a page in place of its source, which holds no numbers."""
    below = app.env.toctree_includes.get(pagename, [])
    notebooks = [name for name in [pagename, *below] if name.startswith("notebooks/")]
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            kept = [b for b in group["buttons"] if b["label"] == "download-pdf-button"]
            group["buttons"] = [
                {
                    "type": "link",
                    "url": context["pathto"](f"_sources/{name}.ipynb", 1),
                    "text": f"{Path(name).name}.ipynb",
                    "tooltip": "The notebook as it was run",
                    "icon": "fas fa-code",
                    "label": "download-notebook-button",
                }
                for name in notebooks
            ] + kept


def size_pictures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Show each figure at the size it was drawn for: its file may hold twice the dots."""
    from PIL import Image

    for node in doctree.findall(nodes.image):
        path = Path(app.srcdir) / node["uri"]
        if path.suffix == ".png" and path.is_file() and "width" not in node:
            with Image.open(path) as picture:
                dots = picture.info.get("dpi", (DOTS_PER_INCH,))[0]
                node["width"] = f"{round(picture.width * DOTS_PER_INCH / dots)}px"


def page_text(page: str) -> str:
    """Return the words of a page's article, for the excerpts of the search."""
    article = ARTICLE.search(page)
    return " ".join(unescape(NO_TEXT.sub(" ", article[1])).split()) if article else ""


def write_excerpts(app: Sphinx, exception: Exception | None) -> None:
    """Keep the words of every page in a script, which a search from disk loads."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    pages = {name: folder / f"{name}.html" for name in sorted(app.env.found_docs)}
    words = {n: page_text(path.read_text("utf-8")) for n, path in pages.items() if path.exists()}
    text = json.dumps(words, ensure_ascii=False, separators=(",", ":"))
    (folder / EXCERPTS).write_text(f"hvExcerpts({text});\n", encoding="utf-8")


def add_to_search(app: Sphinx, config: Any) -> None:
    """Give the search its order and its excerpts."""
    config.html_search_scorer = str(SEARCH)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is done to finished pages."""
    app.connect("config-inited", add_to_search)
    app.connect("builder-inited", mend_pages)
    app.connect("doctree-resolved", size_pictures)
    app.connect("html-page-context", offer_notebooks, priority=900)  # after the theme's buttons
    app.connect("build-finished", write_excerpts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
