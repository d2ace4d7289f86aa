"""Sphinx extension of the book: the directive `versus`, a link to the page of `hv versus`.

The page is made from the run behind the book, and written beside the finished pages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RUN_FILE = "book/run.json"  # written by hv_utils.chain.book_stage
PAGE = "_static/versus/versus.html"
MARK = "versus"  # of the pages that hold the directive, among Sphinx's facts on pages
LACKING = (
    "<p><em>Not here: the run behind this book no longer has the pictures of its test cells. "
    "<code>hv versus</code> makes the page of another.</em></p>"
)


class Versus(SphinxDirective):
    """The directive `versus`, without arguments or content."""

    def run(self) -> list[nodes.Node]:
        """Link the page where the run can show it, and say so where it cannot."""
        from hv_utils.ground.errors import HematoVisionError
        from hv_utils.ground.runs import Run
        from hv_utils.serve.held_out import from_run

        self.env.note_dependency(RUN_FILE)
        about = json.loads((Path(self.env.srcdir) / RUN_FILE).read_text(encoding="utf-8"))
        try:
            held_out = from_run(Run.open(about["folder"]))
        except HematoVisionError:
            return [nodes.raw("", LACKING, format="html")]
        self.env.metadata[self.env.docname][MARK] = about["folder"]
        address = "../" * self.env.docname.count("/") + PAGE
        words = f"Name {len(held_out.choose())} cells"
        link = f'<p><a class="hv-button" href="{address}">{words}</a></p>'
        return [nodes.raw("", f"{link}<p>{held_out.about}</p>", format="html")]


def write_page(app: Sphinx, exception: Exception | None) -> None:
    """Write the page, where one links it."""
    folders = [facts[MARK] for facts in app.env.metadata.values() if MARK in facts]
    if exception or app.builder.format != "html" or not folders:
        return
    from hv_utils.ground.runs import Run
    from hv_utils.serve.held_out import from_run
    from hv_utils.serve.versus import write_versus

    write_versus(Path(app.outdir) / PAGE, from_run(Run.open(folders[0])))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("versus", Versus)
    app.connect("build-finished", write_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
