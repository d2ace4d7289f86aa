"""The quizzes: their questions, the file for Moodle, the page with and without a script."""

import importlib
import io
import json
import shutil
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from bs4 import BeautifulSoup

from conftest import ROOT

FILES = sorted((ROOT / "book" / "quizzes").glob("*.yaml"))
LESSONS = sorted((ROOT / "book" / "lessons").glob("*.md"))

per_quiz = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def quizzes():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    yield importlib.import_module("hematovision_quiz")
    sys.path.pop(0)


def build(folder, pages: dict[str, str]):
    """Build pages with the directive and nothing else; return the output and the warnings."""
    from sphinx.application import Sphinx

    source, out, warnings = folder / "source", folder / "out", io.StringIO()
    static = source / "static"
    static.mkdir(parents=True)
    for name in ("quiz.js", "hematovision.css"):
        shutil.copy(ROOT / "book" / "_static" / name, static)
    shutil.copytree(ROOT / "book" / "quizzes", source / "book" / "quizzes")
    (source / "conf.py").write_text(
        "extensions = ['myst_parser', 'hematovision_quiz']\nhtml_static_path = ['static']\n"
        "html_css_files = ['hematovision.css']\nlanguage = 'en'\n"
    )
    for name, text in pages.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"---\norphan: true\n---\n# A\n\n{text}\n")
    places = (source, source, out, folder / "trees", "html")
    Sphinx(*places, status=None, warning=warnings).build()
    # A second Sphinx of one process finds the nodes of the first: no matter here.
    told = [line for line in warnings.getvalue().splitlines() if "already registered" not in line]
    return out, "\n".join(told)


@pytest.fixture(scope="module")
def page(tmp_path_factory, quizzes):
    """Return a built page with the quiz of the first lesson."""
    pages = {"index.md": "None.", "deep/one.md": "```{quiz} 1-cells\n```"}
    out, warnings = build(tmp_path_factory.mktemp("quiz"), pages)
    assert "WARNING" not in warnings
    return out / "deep" / "one.html"


def test_every_lesson_has_its_quiz():
    assert [path.stem for path in FILES] == [path.stem for path in LESSONS]
    assert len(FILES) == 7


@per_quiz
def test_eight_questions_with_one_right_answer_and_a_reason_each(quizzes, path):
    questions = quizzes.read_quiz(path)
    assert len(questions) == 8
    assert len({one.question for one in questions}) == 8
    for one in questions:
        assert 3 <= len(one.answers) <= 5
        assert one.answers == sorted(one.answers), "the order tells nothing"
        assert len(one.reason.split()) >= 8
        assert one.reason.endswith((".", "!"))


def test_the_place_of_the_right_answer_cannot_be_guessed(quizzes):
    places = [one.right for path in FILES for one in quizzes.read_quiz(path)]
    for place in range(3):
        assert places.count(place) >= len(places) / 6


@pytest.mark.parametrize(
    "text",
    [
        "{type: multiple_choice, title: a, question: b, answers: [c, d, e]}",
        "{type: multiple_choice, title: a, question: b, answers: [c, d, d], general_feedback: f}",
        "{type: multiple_choice, title: a, question: b, answers: [c, d], general_feedback: f}",
        "{type: essay, title: a, question: b, answers: [c, d, e], general_feedback: f}",
    ],
)
def test_a_question_that_lacks_something_is_refused(quizzes, tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml: expected"):
        quizzes.read_quiz(path)


@per_quiz
def test_the_file_for_moodle_holds_the_same_questions(quizzes, path):
    root = ElementTree.fromstring(quizzes.moodle_xml(path))
    assert root.tag == "quiz"
    found = [one for one in root if one.get("type") == "multichoice"]
    wanted = quizzes.read_quiz(path)
    assert len(found) == len(wanted) == 8
    assert {one.get("type") for one in root} <= {"multichoice", "category"}
    for one, question in zip(found, wanted, strict=True):

        def words(place, one=one):
            return BeautifulSoup(one.find(f"{place}/text").text, "html.parser").get_text().strip()

        assert one.find("name/text").text
        assert words("questiontext") == question.question
        assert words("generalfeedback") == question.reason
        assert one.find("single").text == "true"
        assert one.find("shuffleanswers").text.strip() == "1"
        marks = {
            BeautifulSoup(a.find("text").text, "html.parser").get_text().strip(): a.get("fraction")
            for a in one.findall("answer")
        }
        assert sorted(marks) == question.answers
        assert {a: float(m) for a, m in marks.items() if float(m)} == {
            question.answers[question.right]: 100
        }


def test_the_page_holds_the_questions_with_folded_answers_and_the_file(page):
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    items = soup.select(".hv-quiz > ol.hv-static > li")
    assert len(items) == 8
    for item in items:
        assert not item.details.has_attr("open")
        assert item.details.strong.get_text().rstrip(".") in [
            li.get_text() for li in item.select("ul > li")
        ]
    link = soup.select_one(".hv-download a")
    assert (page.parent / link["href"]).resolve().is_file()
    assert link["href"] == "../quizzes/1-cells.xml"
    assert "quiz.js" in page.read_text("utf-8")
    assert "quiz.js" not in (page.parent.parent / "index.html").read_text("utf-8")


def test_a_quiz_that_is_not_there_is_an_error(quizzes, tmp_path):
    _, warnings = build(tmp_path, {"index.md": "```{quiz} 9-none\n```"})
    assert "expected questions in book/quizzes/9-none.yaml" in warnings


# ------------------------------------------------------------------ in a browser


def says(browser, at: int) -> str:
    return browser.js(f"document.querySelectorAll('.hv-quiz fieldset')[{at}].lastChild.textContent")


def score(browser) -> str:
    return browser.js("document.querySelector('.hv-quiz .hv-says').textContent")


@pytest.mark.browser
def test_without_a_script_the_answers_unfold(browser, page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page.as_uri())
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    seen = "document.querySelector('.hv-quiz .hv-static').checkVisibility()"
    assert browser.js(seen)
    assert not browser.js("!!document.querySelector('.hv-quiz .hv-live')")


@pytest.mark.browser
def test_by_keyboard_and_kept_in_this_browser_alone(browser, page, quizzes):
    questions = quizzes.read_quiz(FILES[0])
    asked = browser.open(page.as_uri())
    assert all(url.startswith("file:") for url in asked)
    browser.js("localStorage.clear()")
    browser.open(page.as_uri())
    assert not browser.js("document.querySelector('.hv-quiz .hv-static').checkVisibility()")
    assert score(browser) == "0 of 8 answered, 0 right."
    browser.js("""(() => { const place = document.querySelector('.hv-live');
        place.tabIndex = -1; place.focus(); })()""")

    browser.press("Tab", "Tab", "Enter")  # past the choices to "Check", without having chosen
    assert says(browser, 0) == "Choose an answer first."
    browser.js("document.querySelector('.hv-live').focus()")
    for at, one in enumerate(questions):  # the first half right, the others wrong
        wanted = one.right if at < 4 else (one.right + 1) % len(one.answers)
        # Tab stands on the first choice of a group; the space bar and the arrows choose.
        browser.press("Tab", " ", *["ArrowDown"] * wanted)
        browser.press("Tab", "Enter")
        told = says(browser, at)
        assert (
            told
            == ("Right. " if at < 4 else f"No. Right is: {one.answers[one.right]}. ") + one.reason
        )
        assert browser.js("document.activeElement.type") == "radio", "the keyboard keeps its place"
    assert score(browser) == "At the end 4 of 8 right."
    assert len(browser.js("Object.keys(localStorage)")) == 1
    kept = json.loads(browser.js("localStorage['hv-quiz:1-cells']"))
    assert len(kept) == 8

    browser.open(page.as_uri())  # as on another day
    assert score(browser) == "At the end 4 of 8 right."
    assert says(browser, 7).startswith("No. ")
    browser.js("[...document.querySelectorAll('.hv-live button')].at(-1).focus()")
    browser.press("Enter")  # start again
    assert score(browser) == "0 of 8 answered, 0 right."
    assert browser.js("document.activeElement.type") == "radio"
    assert json.loads(browser.js("localStorage['hv-quiz:1-cells']")) == {}


@pytest.mark.browser
def test_every_question_is_a_named_group_of_labelled_choices(browser, page):
    browser.open(page.as_uri())
    faults = browser.js(
        """[...document.querySelectorAll('.hv-quiz fieldset')].filter((field) =>
        !field.querySelector('legend').textContent || field.querySelector('[role=status]') === null
        || [...field.querySelectorAll('input')].some((one) => !one.labels.length)).length"""
    )
    assert faults == 0
