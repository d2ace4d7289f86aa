"""The lessons: minutes that add up, bets before what they bet on, nothing given away."""

import re

import pytest
import yaml

from conftest import ROOT
from hv_utils.chain.book_stage import toc_files
from hv_utils.classroom.exercises import read_exercises
from hv_utils.classroom.lessons import read_lesson
from hv_utils.classroom.minutes import HOW, is_enough, needed_minutes, recorded_seconds, words

BOOK = ROOT / "book"
LESSONS = sorted((BOOK / "lessons").glob("*.md"))
MINUTES = {path.stem: 45 if path.stem == "7-short" else 90 for path in LESSONS}
PARTS = ("**For whom.**", "**The question to begin with.**")
HEADINGS = ["Minutes", "What goes wrong, and how to catch it", "Wrap-up", "Homework", "Quiz"]

per_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def section(path, heading: str) -> str:
    return re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", path.read_text())[1].strip()


def test_there_are_six_lessons_and_a_short_one_in_the_book():
    assert [path.stem[0] for path in LESSONS] == list("1234567")
    files = toc_files(ROOT / "_toc.yml")
    assert [name for name in files if "lessons/" in name] == [f"book/lessons/{n}" for n in MINUTES]
    plan = (BOOK / "lesson-plan.md").read_text()
    assert all(f"(lessons/{name}.md)" in plan for name in MINUTES)


@per_lesson
def test_the_minutes_add_up(path):
    assert sum(step.minutes for step in read_lesson(path.stem).steps) == MINUTES[path.stem]


@per_lesson
def test_minutes_that_are_not_estimates_hold_what_was_read_or_measured(path):
    seconds = recorded_seconds()
    for step in read_lesson(path.stem).steps:
        assert step.how in HOW, step.text
        assert bool(step.names) == (step.how != "estimate"), step.text
        assert is_enough(step, seconds), (step, needed_minutes(step, seconds))


def test_words_are_counted_as_far_as_one_reads():
    every, some = (words("07_leak", until=stop) for stop in ("", "Siblings next door"))
    assert 100 < some < every / 2
    with pytest.raises(ValueError, match="no heading 'Nothing'"):
        words("07_leak", until="Nothing")


@per_lesson
def test_an_exercise_at_the_learners_machines_has_its_minutes(path):
    for step in read_lesson(path.stem).steps:
        number = re.search(r"(?i)exercise (\d)", step.text)
        pages = re.findall(r"`([\w/]+)`", step.needs)
        if number and pages and "teacher" not in step.needs:
            every = {one.number: one.minutes for one in read_exercises(pages[0])}
            assert step.minutes >= every[int(number[1])], step.text


@per_lesson
def test_a_bet_is_made_before_it_is_opened_and_on_paper(path):
    steps = read_lesson(path.stem).steps
    marks = [s.text.split()[0] for s in steps if s.text.startswith(("Bet:", "Open the bets"))]
    assert marks == ["Bet:", "Open"] * (len(marks) // 2) != []
    assert all(step.needs == "nothing" for step in steps if step.text.startswith("Bet:"))


@per_lesson
def test_nothing_that_a_run_shows_is_given_away(path):
    text = path.read_text().replace("score 0.91 and 0.89", "")  # the question of lesson 4
    assert "{glue" not in text
    assert not re.findall(r"\b0\.\d{2,}\b|\b\d+\.\d+\s?%", re.sub(r"-p \w+ [\d.]+", "", text))


@per_lesson
def test_each_page_has_all_its_parts(path):
    text = path.read_text()
    assert all(part in text for part in PARTS)
    assert re.findall(r"(?m)^## (.+)$", text) == HEADINGS
    objectives = re.findall(r"(?m)^- (.+)$", text.split("```")[1])
    assert len(objectives) >= 3
    assert all(objective.startswith("can ") for objective in objectives), "they can be tested"
    assert len(re.findall(r"(?m)^- \*", section(path, HEADINGS[1]))) >= 4
    assert len(re.findall(r"[.?!](?= |$)", section(path, "Wrap-up"))) == 3, "three sentences"
    assert f"```{{quiz}} {path.stem}\n```" in section(path, "Quiz")
    assert len(text.split()) <= 1200


def test_the_two_great_moments_are_marked():
    text = {path.stem: path.read_text() for path in LESSONS}
    assert "two great moments" in text["2-leak"]
    assert "second great moment" in text["5-laboratory"]


@pytest.mark.parametrize(("size", "points"), [("Small", 10), ("Medium", 30), ("Large", 100)])
def test_the_points_of_a_rubric_add_up_and_so_does_its_example(size, points):
    text = (BOOK / "assessment.md").read_text()
    part = re.search(rf"(?ms)^## {size}: .*?(?=^## )", text)[0]
    assert f"{points} points" in part.splitlines()[0]
    most = [int(n) for n in re.findall(r"(?m)^\| 0 to (\d+) \|", part)]
    assert sum(most) == points
    marked = part.split("{admonition}")[1].split("*\n\n")[1]
    mark = re.search(r"\*\*(\d+) of (\d+)\.\*\*", marked)
    given = [int(n) for n in re.findall(r"[A-Z][a-z]+ (\d+)\b", marked)]
    assert len(given) == len(most)
    assert all(n <= limit for n, limit in zip(given, most, strict=True))
    assert (sum(given), points) == (int(mark[1]), int(mark[2]))


def test_the_citation_file_names_this_version():
    import tomllib

    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(about)
    assert (about["version"], about["license"]) == (project["version"], project["license"])


@pytest.mark.parametrize("name", ["scripts/colab.ipynb", ".binder/environment.yml"])
def test_what_nobody_could_try_says_so(name):
    assert "Untested: nobody here could try" in (ROOT / name).read_text()
