"""The page of the service in a browser: by keyboard, with a token, and with no other host."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from hv_utils.drawn.smear import draw_photo
from running_service import running

pytestmark = pytest.mark.browser
TOKEN = "a-token-long-enough-0123"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for number, label in enumerate(("monocyte", "eosinophil")):
        path = folder / f"<b>{label}.png"
        drawn = draw_photo(label, rng=np.random.default_rng(number)).image
        Image.fromarray(drawn).resize((320, 240)).save(path)
        paths.append(str(path))
    Image.open(paths[0]).save(folder / "c.tif")
    (folder / "text.png").write_text("text")
    return [*paths, str(folder / "c.tif"), str(folder / "text.png")]


def choose(page, files):
    page.call("DOM.enable")
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
    page.call("DOM.setFileInputFiles", files=files, nodeId=node)


def until(page, condition):
    for _ in range(200):
        if page.js(condition):
            return
        time.sleep(0.1)
    raise AssertionError(page.js("document.body.innerText"))


def test_pictures_get_their_rows_and_no_other_host_is_asked(browser, files):
    with running() as service:
        assert browser.open(f"{service.url}/") == [f"{service.url}/"]
        choose(browser, files)
        until(browser, "document.getElementById('status').textContent.includes('4 rows')")
        cells = "[...row.cells].map((cell) => cell.innerText)"
        rows = browser.js(f"[...document.querySelectorAll('tbody tr')].map((row) => {cells})")
        assert [row[1] for row in rows] == [Path(file).name for file in files]
        assert rows[3][3] == "–"
        assert rows[3][5].startswith("unreadable\nexpected an image")
        assert not browser.js("!!document.querySelector('tbody b')"), "names are text"
        assert browser.js("csv().split('\\n').length") == 6
        asked = [
            event["params"]["request"]["url"]
            for event in browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert all(url.startswith((service.url, "blob:", "data:")) for url in asked)


def test_it_works_by_keyboard_and_asks_for_a_token(browser, files):
    with running("--token", TOKEN) as service:
        browser.open(f"{service.url}/")
        browser.press("Tab")
        assert browser.js("document.activeElement.id") == "files"
        choose(browser, files[:1])
        until(browser, "!document.getElementById('token-row').hidden")
        assert browser.js("document.activeElement.id") == "token"
        browser.call("Input.insertText", text=TOKEN)
        browser.press("Enter")
        until(browser, "document.querySelectorAll('tbody tr').length == 1")
        browser.js("document.getElementById('clear').focus()")
        browser.press("Enter")
        assert browser.js("document.querySelectorAll('tbody tr').length") == 0


def test_where_the_service_has_ended_it_says_so(browser, files):
    with running() as service:
        browser.open(f"{service.url}/")
        service.end()
        choose(browser, files[:1])
        until(browser, "document.getElementById('status').textContent.includes('not answer')")
