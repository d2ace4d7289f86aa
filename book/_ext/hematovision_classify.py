"""Sphinx extension of the book: the directive `classify`, where images become verdicts.

What it needs, the model among it, is written beside the finished pages, in a folder of its own: a
script that is handed to Sphinx would be loaded by every page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "_static/classify/"
MARK = "classify"  # of the pages that hold the directive, among Sphinx's facts on pages


class Classify(SphinxDirective):
    """The directive `classify`, without arguments or content."""

    def run(self) -> list[nodes.Node]:
        """Put the place into the page."""
        from hv_utils.serve.classify_page import PLACE, place

        self.env.note_dependency(str(PLACE))
        self.env.metadata[self.env.docname][MARK] = True
        folder = "../" * self.env.docname.count("/") + FOLDER
        style = f'<link rel="stylesheet" href="{folder}classify.css">'
        return [nodes.raw("", style + place(folder), format="html")]


def write_data(app: Sphinx, exception: Exception | None) -> None:
    """Write the model, the runtime and the scripts, where a page asks for them."""
    marked = any(MARK in facts for facts in app.env.metadata.values())
    if exception or app.builder.format != "html" or not marked:
        return
    from hv_utils.serve.classify_page import write_parts

    write_parts(Path(app.outdir) / FOLDER)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("classify", Classify)
    app.connect("build-finished", write_data)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
