"""The page of the service in a browser: by keyboard, with a token, and with no other host."""

import base64
import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from browser import Browser
from firefox import Firefox

from hv_utils.drawn.smear import draw_photo
from hv_utils.inference.predict import (
    SHIPPED_MODEL,
    TRAVELLING_MODEL,
    columns,
    open_classifier,
    predict_rows,
)
from hv_utils.inference.preparation import preparation_of
from hv_utils.serve.classify_page import service_page
from running_service import running

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("service-page")]
TOKEN = "a-token-long-enough-0123"
SAYS = "document.querySelector('.hv-classify-says').textContent"
ROWS = """JSON.stringify(hvClassify.rows().map((row) => ({
    ...row, pixels: row.pixels && row.pixels.length })))"""
CARDS = "document.querySelectorAll('.hv-verdicts > li').length"


@pytest.fixture(scope="module", params=[Browser, Firefox], ids=["chromium", "firefox"])
def window(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for number, label in enumerate(("monocyte", "eosinophil")):
        path = folder / f"{label}.png"
        drawn = draw_photo(label, rng=np.random.default_rng(number)).image
        Image.fromarray(drawn).resize((320, 240)).save(path)
        paths.append(path)
    pair = np.hstack([np.array(Image.open(path)) for path in paths])
    Image.fromarray(pair).save(folder / "pair.tif")
    (folder / "text.png").write_text("text")
    return [*paths, folder / "pair.tif", folder / "text.png"]


def drop(page, files):
    """Drop files: Firefox's driver cannot choose any on a page that was served."""
    names = [path.name for path in files]
    texts = [base64.b64encode(path.read_bytes()).decode() for path in files]
    page.js(f"""(() => {{
        const data = new DataTransfer(), names = {json.dumps(names)};
        {json.dumps(texts)}.forEach((text, at) => {{
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], names[at]));
        }});
        const event = new Event("drop", {{bubbles: true, cancelable: true}});
        Object.defineProperty(event, "dataTransfer", {{value: data}});
        document.body.dispatchEvent(event);
    }})()""")


def until(page, condition):
    for _ in range(300):
        if page.js(condition):
            return
        time.sleep(0.1)
    raise AssertionError(page.js("document.body.innerText"))


def done(page):
    until(page, f"{SAYS}.startsWith('Done')")
    return json.loads(page.js(ROWS))


@pytest.mark.parametrize("model", [TRAVELLING_MODEL, SHIPPED_MODEL], ids=lambda path: path.stem)
def test_pictures_get_the_rows_of_hv_predict(window, files, model):
    cells = model == TRAVELLING_MODEL
    flags = ["--model", model, *(["--why"] if cells else []), "--coverage", "0.95"]
    with running(*flags) as service:
        window.open(f"{service.url}/")
        drop(window, files)
        rows = done(window)
        window.js("""(() => { URL.createObjectURL = (blob) => { self.saved = blob; return "#"; };
            document.querySelector(".hv-classify-tools button").click(); })()""")
        table = window.js("saved.text()")
    classify, meta = open_classifier(model, cam=True, why=cells, coverage=0.95)
    about = {"classes": meta["classes"], "size": meta["size"], "prepare": preparation_of(meta)}
    wanted = list(predict_rows(files, classify, **about))
    assert [row["path"] for row in rows] == [Path(row["path"]).name for row in wanted]
    assert len(rows) == (5 if cells else 4)
    for row, want in zip(rows, wanted, strict=True):
        for name in {"status", "predicted", "set", "why", "cell", "x", "y"} & set(row):
            assert row[name] == want[name]
        if row["status"] == "unreadable":
            assert row["reason"].startswith("expected an image")
            continue
        probs = [want[f"prob_{kind}"] for kind in meta["classes"]]
        assert np.allclose(row["probabilities"], probs, atol=1e-6)
        assert np.allclose(row["heat"]["values"], want["heat_map"].ravel(), atol=1e-5)
    names = columns(meta["classes"], cells=cells, sets=True, why=cells)
    assert list(pd.read_csv(io.StringIO(table)).columns) == names


def test_it_is_one_file_and_no_other_host_is_asked(browser, files, tmp_path):
    named = tmp_path / "<b>.png"
    named.write_bytes(files[0].read_bytes())
    with running() as service:
        assert browser.open(f"{service.url}/") == [f"{service.url}/"]
        browser.choose("#hv-files", *files, named)
        assert done(browser)[-1]["path"] == "<b>.png"
        assert not browser.js("!!document.querySelector('.hv-verdicts b')"), "names are text"
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
        assert browser.js("document.activeElement.id") == "hv-files"
        browser.choose("#hv-files", files[0])
        until(browser, "document.querySelector('.hv-token').checkVisibility()")
        assert browser.js("document.activeElement.id") == "hv-token"
        browser.press("Enter")
        until(browser, f"{SAYS}.startsWith('expected the token')")
        browser.call("Input.insertText", text=TOKEN)
        browser.press("Enter")
        assert len(done(browser)) == 1
        assert not browser.js("document.querySelector('.hv-token').checkVisibility()")
        assert browser.js(CARDS) == 1
        browser.js("[...document.querySelectorAll('button')].at(-1).focus()")
        browser.press("Enter")
        assert browser.js(CARDS) == 0


def test_where_the_service_has_ended_it_says_so(browser, files):
    with running() as service:
        browser.open(f"{service.url}/")
        service.end()
        browser.choose("#hv-files", files[0])
        until(browser, f"{SAYS}.includes('does not answer')")


def test_what_is_refused_gets_its_reason_and_the_others_go_on(browser, files, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(bytes(4_000_000))
    with running("--max-mb", 3) as service:
        browser.open(f"{service.url}/")
        browser.choose("#hv-files", large, files[0])
        refused, judged = done(browser)
        assert refused["status"] == "unreadable"
        assert refused["reason"].startswith("expected at most 3")
        assert judged["path"] == files[0].name
        assert judged["probabilities"]


def test_the_page_is_that_of_the_book():
    page = service_page()
    assert "hvClassify" in page
    assert "classify-model" not in page.partition("function inBrowser")[0]
