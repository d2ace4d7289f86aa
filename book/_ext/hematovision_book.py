"""Sphinx extension of the book: formulas as native MathML, numbers that never go stale.

A classroom may be offline, so no page may need a script from another host: formulas are turned
into MathML while the book is built, which every current browser draws by itself.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml import exceptions
from latex2mathml.converter import convert
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue import crossref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
MATH_ERRORS = (
    *(kind for kind in vars(exceptions).values() if isinstance(kind, type)),
    IndexError,
    ValueError,
)
MATHML = "http://www.w3.org/1998/Math/MathML"
OVER_UNDER = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
NOT_CONVERTED = re.compile(r">\s*(\\[a-zA-Z]+|&)\s*<")
SINGLE_BACKTICKS = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_\w])")
MYST_ROLE = re.compile(r"\{([a-z]+(?::[a-z]+)*)\}(?=`)")
STARRED_SHAPE = re.compile(r"([(,]\s?)\*(?=\w)")
GLUED_NOTEBOOK = re.compile(r"\{glue:?\w*\}`([^`:]+\.ipynb)::")


def to_mathml(tex: str, *, display: bool = False) -> str:
    """Return the MathML of a TeX formula.

    Parameters
    ----------
    tex : str
        A formula without its dollar signs.
    display : bool
        On a line of its own rather than within the text.

    Returns
    -------
    str
        A `<math>` element whose `alttext` is the formula itself, for screen readers and for
        browsers that cannot draw it.

    Raises
    ------
    ValueError
        Where a command is unknown to latex2mathml, which would print it as it stands.
    """
    formula = convert(tex, display="block" if display else "inline")
    unknown = NOT_CONVERTED.search(formula)
    if unknown:
        raise ValueError(f"{unknown[1]} is not known")
    if display:
        formula = _limits_above_and_below(formula)
    return formula.replace("<math ", f'<math alttext="{escape(tex.strip())}" ', 1)


def _limits_above_and_below(formula: str) -> str:
    """Put the limits of sums over and under them, as on a line of its own."""
    ElementTree.register_namespace("", MATHML)
    tree = ElementTree.fromstring(formula)
    for element in tree.iter():
        over_under = OVER_UNDER.get(element.tag.partition("}")[2])
        if over_under and len(element) and element[0].text in ("∑", "∏"):
            element.tag = f"{{{MATHML}}}{over_under}"
    return ElementTree.tostring(tree, encoding="unicode")


def _mathml(tex: str, node: nodes.Node, *, display: bool) -> str:
    try:
        return to_mathml(tex, display=display)
    except MATH_ERRORS as error:
        LOGGER.warning("this formula cannot be read (%s): %s", error, tex, location=node)
        return f"<code>{escape(tex)}</code>"


def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within the text."""
    translator.body.append(_mathml(node.astext(), node, display=False))
    raise nodes.SkipNode


def visit_displaymath(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number where it has a label."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(_mathml(node.astext(), node, display=True))
    translator.body.append("</div>")
    raise nodes.SkipNode


def format_glued(text: str, spec: str) -> str:
    """Return a glued value as its page asks for it; words, such as `'unknown'`, stay words.

    A run on photographs cannot know the share of a nucleus that nobody has outlined: its notebook
    then glues a word where another run glues a number.
    """
    return format_plain_text(text, "s" if text[:1] in "'\"" else spec)


def note_glued_notebooks(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make a page depend on the notebooks whose numbers it shows.

    Sphinx does not know of glue: without this a chapter keeps the numbers of the last run when
    only the notebook behind them has changed.
    """
    folder = Path(app.env.doc2path(docname)).parent
    for notebook in set(GLUED_NOTEBOOK.findall(source[0])):
        app.env.note_dependency(str((folder / notebook).resolve()))


def read_docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Take the docstrings as they are written: `name` is code, (*size, 3) a shape, roles MyST's."""
    for number, line in enumerate(lines):
        line = MYST_ROLE.sub(r":\1:", STARRED_SHAPE.sub(r"\1\\*", line))
        lines[number] = SINGLE_BACKTICKS.sub(r"``\1``", line)


def allow_parallel(app: Sphinx) -> None:
    """Say of two extensions of Jupyter Book that they act in the main process alone."""
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        app.extensions[name].parallel_read_safe = True


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the formulas' writer and the glue dependencies."""
    crossref.format_plain_text = format_glued
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("autodoc-process-docstring", read_docstring, priority=400)  # before napoleon
    app.connect("builder-inited", allow_parallel)
    app.connect("source-read", note_glued_notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
