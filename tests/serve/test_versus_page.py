"""The page of `hv versus` in a real browser: by keyboard alone, against the clock, and its file."""

import json
import time

import numpy as np
import pytest
from drawn_run import make_drawn_run
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from conftest import ROOT
from hv_utils.images.labels import CLASSES
from hv_utils.serve.held_out import from_run
from hv_utils.serve.versus import write_versus
from hv_utils.studies.readings import gather, read_answers

AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SECONDS = 20
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("versus")]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return from_run(make_drawn_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def page(held_out, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "versus.html"
    return write_versus(path, held_out, count=8, seconds=SECONDS)


@pytest.fixture
def fresh(browser, page):
    """The page as on its first day."""
    browser.look()
    return opened(browser, page)


def opened(browser, page):
    browser.open(page.path.as_uri())
    browser.js("localStorage.clear()")
    browser.open(page.path.as_uri())
    return browser


def said(browser) -> str:
    return browser.js("document.getElementById('said').textContent")


def text(browser, name: str) -> str:
    return browser.js(f"document.getElementById('{name}').textContent")


def shown(browser) -> str:
    return browser.js(
        "[...document.querySelectorAll('main > section:not([hidden])')].map((s) => s.id).join()"
    )


def saved(browser) -> dict:
    return json.loads(browser.js("JSON.stringify(versus.saved())"))


def order(browser, page) -> list[int]:
    key = f"hematovision-versus:{page.facts['page']}"
    return json.loads(browser.js(f"localStorage.getItem('{key}')"))["order"]


def wait(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def tab_to(browser, words: str) -> None:
    for _ in range(30):
        browser.press("Tab")
        told = browser.js(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent"
        )
        if told.strip().startswith(words):
            return
    raise AssertionError(f"Tab does not reach {words}")


def name(browser, key: str) -> None:
    """Press a key once the cell has been seen for as long as anybody needs."""
    before = len(saved(browser)["answers"])
    wait(lambda: press(browser, key) and len(saved(browser)["answers"]) == before + 1)


def press(browser, key: str) -> bool:
    browser.press(key)
    time.sleep(0.15)
    return True


def test_from_beginning_to_file_by_keyboard_alone(browser, page, tmp_path):
    browser.look()
    requests = browser.open(page.path.as_uri())
    browser.js("localStorage.clear()")
    requests += browser.open(page.path.as_uri())
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    tab_to(browser, "Begin")
    browser.press("Enter")
    assert said(browser).startswith("Cell 1 of 8.")
    for key in "1L3N":
        name(browser, key)
    assert [answer[1] for answer in saved(browser)["answers"]] == [*CLASSES]
    for key in "1234":
        name(browser, key)
    assert shown(browser) == "end"
    assert browser.js("document.activeElement.id") == "end-title"
    browser.save_into(tmp_path)
    tab_to(browser, "Save my answers")
    browser.press("Enter")
    wait(lambda: list(tmp_path.glob("answers-*.json")))
    (file,) = tmp_path.glob("answers-*.json")
    told = json.loads(file.read_text())
    assert file.name == f"answers-{told['reader']}.json"
    assert set(told) == {
        *("format", "version", "program", "note", "page", "reader", "attempt", "seconds"),
        *("described", "cells", "answers"),
    }, "no name, no date"
    one = read_answers(file, page)
    assert (one.seconds, one.attempt, one.described) == (SECONDS, 1, False)
    assert sorted(cell for cell, *_ in told["answers"]) == list(range(8))
    assert len(gather(page, [tmp_path]).readers) == 1


def test_the_result_is_that_of_the_libraries(fresh, page):
    fresh.js("document.getElementById('begin').click()")
    rng = np.random.default_rng(0)
    for _ in range(8):
        name(fresh, str(rng.integers(1, 5)))
    names = [answer for _, answer, _ in saved(fresh)["answers"]]
    cells = [cell for cell, *_ in saved(fresh)["answers"]]
    truth, model = ([told[cell] for cell in cells] for told in (page.truth, page.verdicts))
    right = sum(a == b for a, b in zip(names, truth, strict=True))
    its = sum(a == b for a, b in zip(model, truth, strict=True))
    assert f"right about {right} of 8 cells" in text(fresh, "summary")
    assert f"the model about {its}," in text(fresh, "summary")
    rows = fresh.js(
        "[...document.querySelectorAll('#by-class tbody tr')].map((row) => "
        "[...row.children].map((cell) => cell.textContent))"
    )
    assert [row[0] for row in rows] == [*CLASSES, "all"]
    exact = binomtest(right, 8).proportion_ci(method="exact")
    assert rows[-1][4] == f"{100 * exact.low:.1f} % to {100 * exact.high:.1f} %"
    result = json.loads(fresh.js("JSON.stringify(versus.result())"))
    assert result["kappa"] == pytest.approx(cohen_kappa_score(names, model), abs=1e-12)
    apart = [(a, b, t) for a, b, t in zip(names, model, truth, strict=True) if a != b]
    assert result["you"] == sum(a == t for a, _, t in apart)
    assert result["it"] == sum(b == t for _, b, t in apart)
    assert fresh.js("document.querySelectorAll('#differ figure').length") == len(apart)
    assert "medians" in text(fresh, "time")


def test_time_runs_out_and_a_pause_stops_it(browser, held_out, tmp_path):
    quick = write_versus(tmp_path / "quick.html", held_out, count=4, seconds=2)
    opened(browser, quick).js("document.getElementById('begin').click()")
    browser.press("P")
    assert said(browser) == "Paused."
    assert browser.js("document.getElementById('cell').checkVisibility()") is False
    time.sleep(3)
    browser.press("1")
    assert saved(browser)["answers"] == []
    browser.press("P")
    assert browser.js("document.getElementById('cell').checkVisibility()") is True
    wait(lambda: shown(browser) == "end")
    answers = saved(browser)["answers"]
    assert [answer[1] for answer in answers] == [None] * 4
    assert all(2000 <= ms < 3000 for _, _, ms in answers)
    assert "4 were not named in time" in text(browser, "summary")


PRESS_FOR_A_MOMENT = """
new Promise((done) => {
  const from = performance.now();
  const press = () => {
    dispatchEvent(new KeyboardEvent("keydown", { key: "1" }));
    if (performance.now() - from < 150) requestAnimationFrame(press);
    else done(versus.saved().answers.length);
  };
  press();
})
"""


def test_a_key_that_was_meant_for_the_last_cell_names_no_further_one(fresh):
    fresh.js("document.getElementById('begin').click()")
    name(fresh, "1")
    time.sleep(0.6)
    assert fresh.js(PRESS_FOR_A_MOMENT) == 2


def test_progress_is_there_after_a_reload_in_the_same_order(fresh, page):
    fresh.js("document.getElementById('begin').click()")
    name(fresh, "2")
    before, cells = saved(fresh), order(fresh, page)
    fresh.open(page.path.as_uri())
    assert text(fresh, "begin") == "Go on with cell 2"
    fresh.js("document.getElementById('begin').click()")
    name(fresh, "2")
    assert saved(fresh)["answers"][0] == before["answers"][0]
    assert saved(fresh)["reader"] == before["reader"]
    assert order(fresh, page) == cells
    fresh.js("document.getElementById('stop').click()")
    assert "You stopped after 2 of 8." in text(fresh, "summary")
    fresh.open(page.path.as_uri())
    assert shown(fresh) == "end"


def test_another_tab_is_noticed(fresh, page):
    other = fresh.tab()
    other.open(page.path.as_uri())
    other.js("document.getElementById('begin').click()")
    name(other, "1")
    wait(lambda: "open in another tab" in text(fresh, "notices"))
    other.call("Page.close")


def test_once_more_is_a_second_attempt_and_somebody_else_another_reader(fresh):
    first = saved(fresh)
    fresh.js("window.confirm = () => true; document.getElementById('again').click()")
    assert (saved(fresh)["reader"], saved(fresh)["attempt"]) == (first["reader"], 2)
    fresh.js("document.getElementById('next').click()")
    assert saved(fresh)["reader"] != first["reader"]
    assert saved(fresh)["attempt"] == 1


def test_without_a_limit_and_in_words(fresh, page):
    fresh.js(
        "for (const id of ['untimed', 'described', 'begin']) document.getElementById(id).click()"
    )
    first = order(fresh, page) if saved(fresh)["answers"] else None
    assert first is None
    words = fresh.js("document.getElementById('cell').alt")
    assert words.startswith("Nucleus: ")
    assert words in said(fresh)
    assert not [one for one in CLASSES if one in words]
    name(fresh, "1")
    assert (saved(fresh)["seconds"], saved(fresh)["described"]) == (None, True)


def test_a_browser_that_keeps_nothing_says_so(fresh):
    fresh.js("Storage.prototype.setItem = () => { throw new Error('full') }")
    fresh.js("document.getElementById('begin').click()")
    name(fresh, "1")
    assert "before you have saved your answers" in text(fresh, "notices")


def test_damaged_progress_is_told_and_begun_anew(fresh, page):
    fresh.js(f"localStorage.setItem('hematovision-versus:{page.facts['page']}', '{{\"order')")
    fresh.open(page.path.as_uri())
    assert "you begin anew" in text(fresh, "notices")
    assert text(fresh, "begin") == "Begin"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out_at_400_pixels_and_axe_is_content(browser, page, theme):
    browser.look(theme=theme, width=400)
    opened(browser, page)
    for act in ("", "begin", "stop"):
        if act:
            browser.js(f"document.getElementById('{act}').click()")
        if act == "begin":
            name(browser, "1")
        assert browser.js("document.documentElement.scrollWidth") <= 400, act
        if AXE.exists():
            browser.js(AXE.read_text("utf-8"))
            found = browser.js("axe.run().then((r) => r.violations.map((v) => v.id + v.help))")
            assert found == [], act
