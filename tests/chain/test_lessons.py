"""The lessons: minutes that add up, bets before what they bet on, nothing given away."""

import json
import math
import re

import pytest
import yaml

from conftest import ROOT
from hv_utils.chain.book_stage import toc_files

BOOK = ROOT / "book"
LESSONS = sorted((BOOK / "lessons").glob("*.md"))
MINUTES = {path.stem: 45 if path.stem == "7-short" else 90 for path in LESSONS}
WORDS_A_MINUTE = 200
PARTS = ("**For whom.**", "**The question to begin with.**")
HEADINGS = ["Minutes", "What goes wrong, and how to catch it", "Wrap-up", "Homework", "Quiz"]

per_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def steps(path) -> list[list[str]]:
    """Return the rows of the table of minutes: minutes, step, open, known by."""
    rows = re.findall(r"(?m)^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", path.read_text())
    return [[cell.strip() for cell in row] for row in rows]


def section(path, heading: str) -> str:
    return re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", path.read_text())[1].strip()


def words(name: str) -> int:
    """Count the words that are read of a page or a notebook."""
    page = BOOK / f"{name}.md"
    if page.exists():
        return len(page.read_text().split())
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    text = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return len(text.split())


def test_there_are_six_lessons_and_a_short_one_in_the_book():
    assert [path.stem[0] for path in LESSONS] == list("1234567")
    files = toc_files(ROOT / "_toc.yml")
    assert [name for name in files if "lessons/" in name] == [f"book/lessons/{n}" for n in MINUTES]
    plan = (BOOK / "lesson-plan.md").read_text()
    assert all(f"(lessons/{name}.md)" in plan for name in MINUTES)


@per_lesson
def test_the_minutes_add_up(path):
    assert sum(int(row[0]) for row in steps(path)) == MINUTES[path.stem]


@per_lesson
def test_minutes_that_are_not_estimates_hold_what_was_read_or_measured(path):
    seconds = json.loads((ROOT / "results" / "demo.json").read_text())["seconds_by_notebook"]
    for minutes, step, _, known in steps(path):
        how, *names = known.split()
        assert how in ("estimate", "reading", "running"), step
        assert bool(names) == (how != "estimate"), step
        if how == "reading":
            needed = words(*names) / WORDS_A_MINUTE
        else:
            needed = sum(seconds[name] for name in names) / 60
        assert math.ceil(needed) <= int(minutes) or how == "estimate", step


@per_lesson
def test_a_bet_is_made_before_it_is_opened_and_on_paper(path):
    marks = [
        row[1].split()[0] for row in steps(path) if row[1].startswith(("Bet:", "Open the bets"))
    ]
    assert marks == ["Bet:", "Open"] * (len(marks) // 2) != []
    assert all(row[2] == "nothing" for row in steps(path) if row[1].startswith("Bet:"))


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
