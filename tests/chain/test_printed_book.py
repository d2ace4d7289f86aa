"""The book as one file: every page in order, links that lead within, code left out, small."""

import re
import shutil

import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner

from conftest import ROOT
from hv_utils import cli
from hv_utils.chain import printer
from hv_utils.chain.printed_book import one_page, print_book
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import write_text

LIMIT = 20_000_000  # bytes
TOC = """format: jb-book
root: book/index
parts:
  - caption: The report
    chapters:
      - file: book/one
        sections: [{file: notebooks/01_data}]
      - {file: book/classify}
"""
PAGE = """<html><head><link rel="stylesheet" href="../_static/hematovision.css?v=1"></head><body>
<nav>Navigation</nav><article class="bd-article"><section id="title"><h1>{name}</h1>
{body}</section></article></body></html>"""
BODIES = {
    "book/index": '<p><a href="one.html#part">One</a> <a href="../notebooks/01_data.html">N</a>',
    "book/one": '<h2 id="part">Part</h2><a href="#part">here</a> <a href="classify.html">try</a>'
    '<a href="https://example.org/x">out</a><a href="../_sources/n.ipynb">file</a>'
    '<div class="hv-static"><details><summary>Answer</summary>secret</details></div>',
    "notebooks/01_data": '<div class="cell"><div class="cell_input">import secret</div>'
    '<div class="cell_output"><style>#T_1 {color: red}</style><table id="T_1"></table>'
    '<img alt="Cells" src="../_images/large.png"><img alt="Line" src="../_images/small.svg">'
    "</div></div><script>secret()</script>",
    "book/classify": "<p>secret</p>",
}


@pytest.fixture
def project(tmp_path):
    """A project with a small built book."""
    import numpy as np
    from PIL import Image

    write_text(tmp_path / "_toc.yml", TOC)
    html = tmp_path / "html"
    for name, body in BODIES.items():
        write_text(html / f"{name}.html", PAGE.format(name=name, body=body))
    write_text(html / "_static" / "hematovision.css", "p { color: #111; }")
    write_text(html / "_images" / "small.svg", '<svg xmlns="http://www.w3.org/2000/svg"/>')
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 4), np.uint8)
    Image.fromarray(noise).save(html / "_images" / "large.png")
    return tmp_path


@pytest.fixture
def page(project):
    (project / "made").mkdir()
    text = one_page(project / "html", project / "made", project=project)
    return BeautifulSoup(text, "html.parser")


class TestOnePage:
    def test_holds_the_pages_in_order_without_what_is_for_a_screen(self, page):
        articles = [article["id"] for article in page.find_all("article")]
        assert articles == ["book--index", "book--one", "notebooks--01_data"]
        assert "secret" not in page.get_text()
        assert "Navigation" not in page.get_text()
        assert page.select_one("link")["href"].endswith("/html/_static/hematovision.css")

    def test_links_lead_to_what_is_there(self, page):
        ids = [tag["id"] for tag in page.find_all(id=True)]
        assert len(ids) == len(set(ids))
        links = [tag["href"] for tag in page.find_all("a")]
        assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(ids)
        assert [link for link in links if not link.startswith("#")] == ["https://example.org/x"]
        assert "#book--one--part" in links
        assert page.find("table")["id"] == "T_1", "its style names it"

    def test_a_large_picture_becomes_a_small_one(self, page, project):
        from PIL import Image

        large, small = (tag["src"] for tag in page.find_all("img"))
        assert large == (project / "made" / "large.jpg").as_uri()
        assert Image.open(project / "made" / "large.jpg").size == (400, 400)
        assert small.endswith("/html/_images/small.svg")

    def test_a_book_that_is_not_built_is_refused(self, project):
        (project / "html" / "book" / "one.html").unlink()
        with pytest.raises(HematoVisionError, match=r"expected a built book, but .*one\.html"):
            one_page(project / "html", project, project=project)


def pages(pdf) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


@pytest.fixture
def program():
    try:
        return printer.browser()
    except HematoVisionError as error:
        pytest.skip(str(error))


@pytest.mark.browser
def test_a_small_book_is_printed(project, program):
    pdf = print_book(
        project / "html", project / "out" / "book.pdf", program=program, project=project
    )
    assert pages(pdf) == 5, "title, contents and three pages"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.xdist_group("book")
def test_the_whole_book_is_printed(built, program, tmp_path):
    """Its pages are those of the book, its figures are not; see the next test for these."""
    pdf = print_book(built[1].parent, tmp_path / "book.pdf", program=program)
    assert pages(pdf) > 100
    assert pdf.stat().st_size < LIMIT


@pytest.mark.browser
@pytest.mark.slow
def test_the_book_of_a_finished_run_stays_below_its_limit(program, tmp_path):
    html = ROOT / "_build" / "html"
    if not (html / "index.html").is_file():
        pytest.skip("no book is built here: make book")
    try:
        pdf = print_book(html, tmp_path / "book.pdf", program=program)
    except HematoVisionError:
        pytest.skip("the book that is built here is not of this state: make book")
    assert pdf.stat().st_size < LIMIT


def test_without_a_browser_nothing_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setattr(printer.shutil, "which", lambda name: None)
    monkeypatch.setattr(printer, "PLACES", ())
    monkeypatch.setattr("hv_utils.chain.book.build", lambda *a, **k: pytest.fail("built"))
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    result = CliRunner().invoke(cli.hv, ["book", "--print", str(tmp_path / "book.pdf")])
    assert isinstance(result.exception, HematoVisionError)
    assert "which print to PDF, but found none" in str(result.exception)
