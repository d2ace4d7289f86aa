"""Sphinx extension of the book: the directive `interactive`, for the pieces that a reader can try.

A page asks for a piece by its name; the directive's content is what the reader is told to do. The
script is loaded by these pages and by no other.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from hematovision_pieces import PIECES, NotShownError
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

RUN_FILE = "book/run.json"  # written by hv_utils.chain.book_stage
SCRIPT = "hematovision.js"


class piece(nodes.General, nodes.Element):
    """A piece in a page, with what to do as its content."""


class Interactive(SphinxDirective):
    """The directive `interactive`: its argument is a piece's name, its content what to do."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Compute the piece from the run that the book is built from."""
        from hv_utils.ground.runs import Run

        name = self.arguments[0]
        if name not in PIECES:
            raise self.error(f"expected a piece among {', '.join(PIECES)}, got {name}")
        self.env.note_dependency(RUN_FILE)
        about = json.loads((Path(self.env.srcdir) / RUN_FILE).read_text(encoding="utf-8"))
        title, make = PIECES[name]
        shown = piece("", name=name, title=title, data=None)
        self.state.nested_parse(self.content, self.content_offset, shown)
        try:
            shown["data"], shown["static"] = make(Run.open(about["folder"]))
        except NotShownError as reason:
            shown["static"] = f"<p>{escape(str(reason))}</p>"
        return [shown]


def visit_piece(translator: HTML5Translator, node: piece) -> None:
    """Open the section of a piece, up to what the reader is told to do."""
    name = node["name"]
    translator.body.append(
        f'<section class="hv-piece" data-piece="{name}" aria-labelledby="hv-{name}">'
        f'<h3 id="hv-{name}">{escape(node["title"])}</h3>'
    )


def depart_piece(translator: HTML5Translator, node: piece) -> None:
    """Add what shows without a script, and what the script needs."""
    translator.body.append(f'<div class="hv-static">{node["static"]}</div>')
    if node["data"]:
        data = json.dumps(node["data"], separators=(",", ":")).replace("</", "<\\/")
        translator.body.append(f'<script type="application/json">{data}</script>')
    translator.body.append("</section>")


def load_script(app: Sphinx, pagename: str, template: str, context: Any, doctree: Any) -> None:
    """Load the script on the pages that hold a piece, and on no other."""
    if doctree and any(node["data"] for node in doctree.findall(piece)):
        app.add_js_file(SCRIPT, loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_node(piece, html=(visit_piece, depart_piece))
    app.add_directive("interactive", Interactive)
    app.connect("html-page-context", load_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
