"""Slides and handouts: a deck a lesson, bets before results, offline, one page of paper."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from browser import Browser
from click.testing import CliRunner

from conftest import ROOT
from fake_run import make_run
from hv_utils import cli
from hv_utils.chain import printer
from hv_utils.chain.book_check import check_links
from hv_utils.chain.printer import browser, print_page
from hv_utils.classroom.decks import Slide, read_deck
from hv_utils.classroom.handouts import handout, write_handouts
from hv_utils.classroom.lessons import definitions, lesson_names, read_lesson, sentences
from hv_utils.classroom.slides import GLUE, SHOWN, Exhibits
from hv_utils.classroom.teaching import write_teaching
from hv_utils.drawn.paper import sheets
from hv_utils.ground.errors import HematoVisionError

NAMES = lesson_names()
DECKS = {name: read_deck(name) for name in NAMES}
NOTEBOOKS = {path.stem: path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb")}
PICTURE = re.compile(r"!\[([^\]]*)\]\((figures|images)/([\w.-]+)\)")
RULES = ("10_claims", "c04", "first-column")  # what is claimed, not how it went
PAGES = re.compile(rb"/Type\s*/Page\b")
CLOSED = re.compile(r"\b0\.\d{2,}\b|\b\d+\.\d+\s?%|\b\d{1,2} ?%")

per_lesson = pytest.mark.parametrize("deck", DECKS.values(), ids=NAMES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("slides") / "run", ROOT)


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """Slides and handouts of a made-up run."""
    pytest.importorskip("sphinx_revealjs", reason="the extra slides is not installed")
    folder = tmp_path_factory.mktemp("teaching") / "new"
    return write_teaching(folder, run, sheets(), echo=lambda line: None)


@pytest.fixture(scope="module")
def program():
    try:
        return browser()
    except HematoVisionError as error:
        pytest.skip(str(error))


def results(slide: Slide) -> set:
    """Return what a slide shows of a run."""
    pictures = {name for _, kind, name in PICTURE.findall(slide.body) if kind == "figures"}
    cells = set(SHOWN.findall(slide.body)) - {RULES}
    return pictures | cells | set(GLUE.findall(slide.body))


# ------------------------------------------------------------------ the sources


def test_every_lesson_has_a_deck_and_a_handout():
    decks = sorted(path.stem for path in (ROOT / "book" / "slides").glob("*.md"))
    assert decks == NAMES == sorted(p.stem for p in (ROOT / "book" / "lessons").glob("*.md"))


@per_lesson
def test_a_deck_goes_along_with_its_lesson(deck):
    steps = [slide.step for slide in deck.slides]
    assert steps == sorted(steps)
    assert 10 <= len(deck.slides) <= 16
    skipped = set(range(1, len(deck.lesson.steps) + 1)) - set(steps)
    for number in skipped:  # reading goes with the slide on running
        assert deck.lesson.steps[number - 1].text.startswith("Read ")
    assert sum(step.minutes for step in deck.lesson.steps) in (45, 90)
    assert "{{ question }}" in "".join(slide.body for slide in deck.slides)
    assert "{{ wrap_up }}" in deck.slides[-1].body
    assert all(len(slide.notes.split()) >= 5 for slide in deck.slides)


@per_lesson
def test_a_bet_is_open_until_its_result_is_shown(deck):
    texts = [step.text for step in deck.lesson.steps]
    bets = [n for n, text in enumerate(texts, start=1) if text.startswith("Bet:")]
    opened = [n for n, text in enumerate(texts, start=1) if text.startswith("Open the bets")]
    assert len(bets) == len(opened) >= 1
    for bet, then in zip(bets, opened, strict=True):
        asking = [slide for slide in deck.slides if slide.step == bet]
        showing = [slide for slide in deck.slides if slide.step == then]
        assert asking
        assert not set().union(*map(results, asking)), "a bet shows nothing"
        assert any(map(results, showing)), "what was bet on is shown"
        before = [slide for slide in deck.slides if slide.step < then]
        told = set().union(*map(results, before))
        assert not told & set().union(*map(results, showing)), "and was not before"
        assert not any(GLUE.search(slide.body + slide.notes) for slide in before if bet == bets[0])


@per_lesson
def test_what_is_shown_exists(deck):
    for slide in deck.slides:
        for alt, kind, name in PICTURE.findall(slide.body):
            assert len(alt.split()) >= 4
            if kind == "images":
                assert (ROOT / "book" / "images" / name).is_file()
            else:
                assert any(name in text for text in NOTEBOOKS.values()), name
        for notebook, cell, style in SHOWN.findall(slide.body):
            ids = [one.get("id") for one in json.loads(NOTEBOOKS[notebook])["cells"]]
            assert cell in ids, f"{notebook} {cell}"
            assert style in ("", "wide", "small", "first-column")


@per_lesson
def test_no_number_is_typed_that_a_run_should_have_made(deck):
    for slide in deck.slides:
        assert not CLOSED.search(GLUE.sub("", slide.body)), slide.title
        assert not CLOSED.search(slide.notes.replace("95 %", "")), slide.title


@per_lesson
def test_a_handout_has_all_its_parts_and_no_result(deck):
    page = handout(deck, definitions())
    assert deck.lesson.question.split("?")[0] in page
    assert all(sentence in page for sentence in sentences(deck.lesson.wrap_up))
    assert len(deck.handout["terms"]) >= 3
    assert page.count("<dt>") == page.count("<dd>") == len(deck.handout["terms"])
    assert page.count("<td></td>") >= 6
    assert "Nothing here is for diagnosis" in page
    assert "{" not in page.partition("</style>")[2]
    assert not GLUE.search(page)
    assert "figures/" not in page


# ------------------------------------------------------------------ what is written


def test_slides_are_sound_and_ask_no_other_host(written):
    faults = {fault.partition(": ")[2] for fault in check_links(written / "slides")}
    assert faults <= {"a script names https://github.com"}, "which is a comment there"
    assert check_links(written / "handouts") == []
    for name in NAMES:
        text = (written / "slides" / f"{name}.html").read_text(encoding="utf-8")
        assert text.count('<aside class="notes">') == len(DECKS[name].slides)
        assert "The cells are drawn." in text
        assert "**" not in text
        assert "{glue" not in text
        assert "{{" not in text


def test_numbers_come_from_the_run(run):
    shown = Exhibits(run, ROOT)
    assert shown.number("07_leak", "inflation", "+.2f") == "+1.00"
    notebook = json.loads(run.path("notebooks/07_leak.ipynb").read_text())
    for output in (o for cell in notebook["cells"] for o in cell.get("outputs", [])):
        if output.get("metadata", {}).get("scrapbook", {}).get("name") == "inflation":
            output["data"]["application/papermill.record/text/plain"] = "'no number'"
    shown._cells["07_leak"] = notebook["cells"]
    assert shown.number("07_leak", "inflation", "+.2f") == "no number"


@pytest.mark.browser
@pytest.mark.slow
def test_a_deck_works_from_disk(written, tmp_path):
    with Browser(tmp_path) as page:
        for name in NAMES:
            asked = page.open((written / "slides" / f"{name}.html").as_uri())
            assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
            assert page.js("Reveal.getTotalSlides()") == len(DECKS[name].slides) + 1
            page.press("ArrowRight")
            assert page.js("Reveal.getIndices().h") == 1
            assert (
                page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            )
            assert page.js("Reveal.getPlugins().notes !== undefined")


@pytest.mark.browser
@pytest.mark.slow
def test_on_paper_a_slide_is_a_page_and_so_is_a_handout(written, program, tmp_path):
    for name, deck in DECKS.items():
        slides = print_page(
            written / "slides" / f"{name}.html", tmp_path / "slides.pdf", program=program
        )
        assert len(PAGES.findall(slides.read_bytes())) == len(deck.slides) + 1, name
        page = print_page(
            written / "handouts" / f"{name}.html", tmp_path / "handout.pdf", program=program
        )
        assert len(PAGES.findall(page.read_bytes())) == 1, name
    deck = written / "slides" / "1-cells.html"
    notes = print_page(deck, tmp_path / "notes.pdf", program=program, notes="")
    assert 2 <= len(PAGES.findall(notes.read_bytes())) < len(DECKS["1-cells"].slides)


# ------------------------------------------------------------------ refusals


def refused(error) -> str:
    """Return what a refusal says, which is one line."""
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


class TestRefusals:
    def test_a_run_that_does_not_exist_or_is_not_finished(self, tmp_path, monkeypatch):
        monkeypatch.chdir(ROOT)
        result = CliRunner().invoke(
            cli.hv, ["slides", str(tmp_path / "new"), "--run", str(tmp_path / "none")]
        )
        assert isinstance(result.exception, HematoVisionError)
        run = make_run(tmp_path / "run", ROOT)
        run.path("notebooks/07_leak.ipynb").unlink()
        with pytest.raises(HematoVisionError) as error:
            write_teaching(tmp_path / "new", run, sheets())
        assert "07_leak" in refused(error)
        assert not (tmp_path / "new").exists()

    def test_a_folder_that_holds_something(self, run, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(HematoVisionError, match=r"mine\.txt lies in it.*nothing was written"):
            write_teaching(tmp_path, run, sheets())

    def test_no_browser_to_print_with(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(printer.shutil, "which", lambda name: None)
        monkeypatch.setattr(printer, "PLACES", ())
        with pytest.raises(HematoVisionError) as error:
            write_teaching(tmp_path / "new", run, sheets(), pdf=True)
        assert "found none: install one" in refused(error)
        assert not (tmp_path / "new").exists()

    def test_a_browser_that_fails(self, tmp_path):
        (tmp_path / "page.html").write_text("<p>page")
        with pytest.raises(HematoVisionError, match=r"expected false to print page\.html"):
            print_page(tmp_path / "page.html", tmp_path / "page.pdf", program=shutil.which("false"))
        assert not (tmp_path / "page.pdf").exists()

    def test_the_extra_is_not_installed(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr("hv_utils.classroom.slides.SLIDES", "no_such_module")
        with pytest.raises(HematoVisionError) as error:
            write_teaching(tmp_path / "new", run, sheets())
        assert "[slides]" in refused(error)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("![A figure of nothing](figures/nothing.png)", "expected figures/nothing.png"),
            ("```{shown} 07_leak c99\n```", "expected a cell c99 in notebook 07_leak"),
            ("{glue:text}`../../notebooks/07_leak.ipynb::no:.2f`", "07_leak to glue no"),
        ],
    )
    def test_what_the_run_does_not_have(self, run, body, said):
        deck = DECKS["1-cells"]
        wrong = replace(deck, slides=(replace(deck.slides[0], body=body),))
        with pytest.raises(HematoVisionError) as error:
            Exhibits(run, ROOT).fill(wrong)
        assert said in refused(error)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("% step 1\n", "", "below each heading a line such as % step 1"),
            ("% step 1\n", "% step 99\n", "has step 99"),
            (":::{notes}", ":::{note}", "has no notes"),
            ("---\nterms", "terms", "facts between two lines ---"),
            ("caption: My bet", "caption: My: bet", "text that holds a colon stands in quotes"),
        ],
    )
    def test_a_deck_that_is_not_as_it_should_be(self, tmp_path, old, new, said):
        shutil.copytree(ROOT / "book", tmp_path / "book")
        path = tmp_path / "book" / "slides" / "1-cells.md"
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(HematoVisionError) as error:
            read_deck("1-cells", project=tmp_path)
        assert said in refused(error)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("sheet: cells", "sheet: stars", "expected a sheet .* got stars, which is none of"),
            ("terms: [leukocyte", "terms: [leucocyte", "a word of the glossary .* got leucocyte"),
            ("table:", "tabel:", "'table' is missing there"),
        ],
    )
    def test_a_handout_that_names_what_there_is_not(self, tmp_path, old, new, said):
        shutil.copytree(ROOT / "book", tmp_path / "book")
        path = tmp_path / "book" / "slides" / "1-cells.md"
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(HematoVisionError, match=said) as error:
            write_handouts(tmp_path / "out", sheets(), project=tmp_path)
        refused(error)

    def test_an_unknown_lesson(self):
        with pytest.raises(HematoVisionError, match=r"one of the lessons 1-cells, .* got 8-none"):
            read_lesson("8-none")
