"""The page that classifies: the verdicts of `hv predict`, in each browser, from disk alone."""

import base64
import io
import json
import shutil
import struct
import subprocess
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Browser
from firefox import Firefox
from PIL import Image, ImageCms

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.familiarity import Strangers, alarm
from hv_utils.inference.predict import (
    SHIPPED_MODEL,
    TRAVELLING_MODEL,
    columns,
    open_classifier,
    predict_rows,
)
from hv_utils.serve import runtime
from hv_utils.serve.classify_page import write_page, write_parts

pytestmark = pytest.mark.xdist_group("classify")
CLOSE = 1e-4
DRAFTED = 0.05  # of large JPEGs, which Python shrinks while it decodes
ROWS = """JSON.stringify(hvClassify.rows().map((row) => ({
    ...row, pixels: null, heat: row.heat && Array.from(row.heat.values) })))"""
SAYS = "document.querySelector('.hv-classify-says').textContent"
BUILT = ("classify-model.js", "classify-runtime.js")


# ------------------------------------------------------------------ what is written


def test_the_page_without_the_runtime_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    page = write_page(tmp_path / "page")
    assert runtime.PACKAGE in page.read_text()
    assert '"runtime": false' in (tmp_path / "page" / "classify-facts.js").read_text()
    assert not (tmp_path / "page" / "classify-runtime.js").exists()


def test_parts_stay_while_model_and_runtime_are_the_same(tmp_path, monkeypatch):
    write_page(tmp_path)
    model, packed = (tmp_path / name for name in BUILT)
    text, stamp = model.read_text(), model.stat().st_mtime_ns
    write_page(tmp_path)
    assert model.stat().st_mtime_ns == stamp
    model.write_text("// of another model\n" + text.partition("\n")[2])
    packed.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    write_page(tmp_path)
    assert model.read_text() == text
    assert not packed.exists(), "the page would say that it has no runtime, and have one"


def test_a_model_of_cells_is_refused(tmp_path):
    with pytest.raises(HematoVisionError, match=r"whole pictures for the page, but .*travelling"):
        write_parts(tmp_path, model=TRAVELLING_MODEL)


class TestRuntime:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def test_where_npm_is_missing_it_says_so(self, monkeypatch):
        monkeypatch.setattr(runtime.shutil, "which", lambda *_, **__: None)
        assert "npm" in runtime.fetch_runtime()
        assert "not installed" in runtime.fetch_runtime()

    def test_where_npm_fails_or_hangs_it_says_so(self, monkeypatch):
        monkeypatch.setattr(runtime.shutil, "which", lambda *_, **__: "npm")
        failed = subprocess.CompletedProcess([], 1)
        monkeypatch.setattr(runtime.subprocess, "run", lambda *_, **__: failed)
        assert "is there a network?" in runtime.fetch_runtime()

        def hang(*_, timeout, **__):
            raise subprocess.TimeoutExpired("npm", timeout)

        monkeypatch.setattr(runtime.subprocess, "run", hang)
        assert "timed out after 2" in runtime.fetch_runtime(limit_s=2)

    def test_another_package_is_not_taken(self):
        tarball = runtime.cache() / runtime.TARBALL
        tarball.parent.mkdir(parents=True)
        tarball.write_bytes(b"another")
        assert "damaged or another" in runtime.fetch_runtime()
        assert runtime.runtime_files() == {}

    def test_a_damaged_file_is_none(self):
        folder = runtime.cache() / runtime.TARBALL.removesuffix(".tgz")
        folder.mkdir(parents=True)
        for file, _ in runtime.FILES.values():
            (folder / file).write_bytes(b"cut")
        assert runtime.runtime_files() == {}


# ------------------------------------------------------------------ in the browsers


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    if lacking := runtime.fetch_runtime():
        pytest.skip(lacking)
    return write_page(tmp_path_factory.mktemp("classify"))


@pytest.fixture(scope="module", params=[Browser, Firefox], ids=["chromium", "firefox"])
def window(request, tmp_path_factory, page):
    with request.param(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def settled(window, *, limit_s: float = 120) -> str:
    """Wait until nothing more is looked at, and return what the page says."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        says = window.js(SAYS)
        if says.startswith(("Done", "No further")):
            return says
        time.sleep(0.1)
    raise AssertionError(f"not done: {says}")


def judged(window, page: Path, files: list[Path]) -> dict[str, dict]:
    window.open(page.as_uri())
    window.choose("#hv-files", *files)
    assert settled(window).startswith("Done")
    return {row["path"]: row for row in json.loads(window.js(ROWS))}


def predicted(files: list[Path]) -> tuple[dict[str, dict], list[str]]:
    classify, meta = open_classifier(SHIPPED_MODEL, cam=True)
    rows = predict_rows(files, classify, classes=meta["classes"], size=meta["size"])
    return {Path(row["path"]).name: row for row in rows}, meta["classes"]


def compare(window, page: Path, files: list[Path]) -> dict[str, dict]:
    """Hold the browser's rows against Python's, and return the browser's."""
    found, (wanted, classes) = judged(window, page, files), predicted(files)
    assert list(found) == [path.name for path in files]
    faults = []
    for name, row in found.items():
        want, close = wanted[name], DRAFTED if row.get("drafted") else CLOSE
        probs = [want[f"prob_{kind}"] for kind in classes]
        members = [kind for kind, kept in zip(classes, row["members"], strict=True) if kept]
        differences = (
            np.subtract(row["probabilities"], probs),
            row["heat"] - want["heat_map"].ravel(),
        )
        same = row["status"] == want["status"] and max(abs(d).max() for d in differences) < close
        if not row.get("drafted"):
            same &= want["status"] == "not_a_cell" or "|".join(members) == want["set"]
            same &= abs(row["familiarity"] - want["familiarity"]) < 1e-9
        if not same:
            faults.append(f"{name}: {[abs(d).max() for d in differences]}, {row['status']}")
    assert not faults
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Write one drawn cell in every way that a browser and Python read alike."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    cell = Image.fromarray(draw_photo("eosinophil", rng=rng).image)
    grey, indexed, clear = cell.convert("L"), cell.convert("P"), cell.convert("RGBA")
    ramp = np.broadcast_to(np.linspace(0, 255, cell.width).astype(np.uint8), cell.size[::-1])
    clear.putalpha(Image.fromarray(np.ascontiguousarray(ramp)))
    hidden = cell.convert("RGBA")
    hidden.putalpha(1)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"    ").replace(b"bXYZ", b"rXYZ").replace(b"    ", b"bXYZ")
    ways = {
        "420.jpg": (cell, {"quality": 80}),
        "422.jpg": (cell, {"quality": 80, "subsampling": 1}),
        "444.jpg": (cell, {"quality": 95, "subsampling": 0}),
        "progressive.jpg": (cell, {"progressive": True}),
        "grey.jpg": (grey, {}),
        "grey.png": (grey, {}),
        "grey-alpha.png": (cell.convert("LA"), {}),
        "two-colours.png": (cell.convert("1"), {}),
        "palette.png": (indexed, {}),
        "palette-alpha.png": (indexed, {"transparency": 3}),
        "alpha.png": (clear, {}),
        "hidden.png": (hidden, {}),
        "plain.png": (cell, {}),
        "profile.jpg": (cell, {"icc_profile": swapped}),
        "profile.png": (cell, {"icc_profile": swapped}),
        "lossy.webp": (cell, {"quality": 70}),
        "alpha.webp": (clear, {"lossless": True}),
        "plain.bmp": (cell, {}),
        "grey.bmp": (grey, {}),
        "indexed.gif": (cell.quantize(64), {}),
        "odd.png": (cell.crop((3, 5, 334, 300)), {}),
        "enlarged.png": (cell.crop((100, 100, 117, 116)), {}),
        "as-it-is.png": (cell.crop((0, 0, 320, 240)), {}),
        "tall.png": (cell.resize((300, 900)), {}),
        "large.png": (cell.resize((1500, 1100)), {}),
        "large.jpg": (cell.resize((1500, 1300)), {}),
    }
    for number in range(2, 9):
        turned = Image.Exif()
        turned[0x0112] = number
        ways[f"turned-{number}.jpg"] = (cell, {"exif": turned})
    ways |= {f"turned.{end}": (cell, {"exif": turned}) for end in ("png", "webp")}
    for name, (image, options) in ways.items():
        image.save(folder / name, **options)
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    plain = (folder / "plain.png").read_bytes()
    (folder / "gamma.png").write_bytes(plain[:33] + gamma + plain[33:])
    return [*(folder / name for name in ways), folder / "gamma.png"]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.browser
@pytest.mark.slow
def test_each_way_to_write_an_image_gets_pythons_verdict(window, page, images):
    rows = compare(window, page, images)
    assert {row["status"] for row in rows.values()} == {"ok", "unsure", "not_a_cell"}
    assert [name for name, row in rows.items() if row["drafted"]] == ["large.jpg"]


@pytest.mark.browser
@pytest.mark.real
@pytest.mark.slow
def test_real_cells_get_pythons_verdicts(window, page, real_archive, tmp_path):
    files = []
    with zipfile.ZipFile(real_archive) as archive:
        names = [n for n in archive.namelist() if "/TEST/" in n and n.endswith(".jpeg")][::83]
        names += [n for n in archive.namelist() if "/JPEGImages/" in n and n.endswith(".jpg")][
            ::100
        ]
        for number, name in enumerate(names):
            files.append(tmp_path / f"{number}.jpeg")
            files[-1].write_bytes(archive.read(name))
    compare(window, page, files)
    assert "stranger" not in window.js("document.querySelector('.hv-classify-tally').textContent")


@pytest.fixture(scope="module")
def bad(tmp_path_factory, images) -> dict[Path, str]:
    """Write what gets no verdict, with words of the reason."""
    folder = tmp_path_factory.mktemp("bad")
    whole = {path.suffix: path for path in images if path.stem in ("plain", "420", "lossy")}
    whole[".gif"] = images[0].with_name("indexed.gif")
    found = {}

    def write(name: str, data: bytes, reason: str) -> None:
        (folder / name).write_bytes(data)
        found[folder / name] = reason

    for suffix, path in whole.items():
        for share in (0.3, 0.9):
            data = path.read_bytes()
            write(f"cut-{share}{suffix}", data[: int(share * len(data))], "breaks off")
    png = bytearray(whole[".png"].read_bytes())
    png[len(png) // 2] ^= 0xFF
    write("flipped.png", bytes(png), "breaks off")
    jpeg = whole[".jpg"].read_bytes()
    write("without-end.jpg", jpeg[:-2], "end marker")
    write("empty.png", b"", "is empty")
    write("text.jpg", b"Dear colleague,\n" * 20, "no known image format")
    write("short.jpg", b"\xff", "no known image format")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    write("bomb.png", bomb, "has 60000x60000")
    cell = Image.open(whole[".png"])
    for name, image, reason in (
        ("field.tif", cell, "use hv predict, which reads it"),
        ("wavelet.jp2", cell, "is a JPEG 2000 file"),
        ("ink.jpg", cell.convert("CMYK"), "four inks"),
        ("icon.png", cell.resize((15, 40)), "has 15x40"),
        ("deep.png", Image.fromarray(np.arange(2500, dtype=np.uint16).reshape(50, 50)), "16 bits"),
        ("nothing.png", Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "transparency"),
    ):
        image.save(folder / name)
        found[folder / name] = reason
    return found


@pytest.mark.browser
def test_bad_files_are_told_of_and_the_others_get_their_verdict(window, page, images, bad):
    files = [*bad, images[0]]
    rows = judged(window, page, files)
    assert rows[images[0].name]["status"] != "unreadable"
    told = {path: rows[path.name] for path in bad}
    assert {row["status"] for row in told.values()} == {"unreadable"}
    wrong = {
        p.name: told[p]["reason"] for p, words in bad.items() if words not in told[p]["reason"]
    }
    assert not wrong
    assert not [row for row in told.values() if "probabilities" in row]
    assert all(path.name in row["reason"] for path, row in told.items())


DROP = """(async () => {
    const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "%s.png"));
    const event = new Event("%s", {bubbles: true, cancelable: true});
    Object.defineProperty(event, "%s", {value: data});  // Firefox makes none that holds files
    document.querySelector("body").dispatchEvent(event);
    return event.defaultPrevented;
})()"""


@pytest.mark.browser
def test_images_are_dropped_anywhere_and_pasted(window, page, images):
    text = base64.b64encode((images[0].parent / "enlarged.png").read_bytes()).decode()
    window.open(page.as_uri())
    dropped = window.js(DROP % (text, "dropped", "drop", "dataTransfer"))
    assert dropped, "the browser would open the file in place of the page"
    settled(window)
    window.js(DROP % (text, "pasted", "paste", "clipboardData"))
    for _ in range(100):
        names = [row["path"] for row in json.loads(window.js(ROWS))]
        if len(names) == 2:
            break
        time.sleep(0.1)
    assert names == ["dropped.png", "pasted.png"]


@pytest.mark.browser
def test_the_page_by_keyboard(window, page, images):
    focused = "document.activeElement.id || document.activeElement.textContent"
    window.open(page.as_uri())
    window.js("document.body.focus()")
    window.press("Tab")
    assert window.js(focused) == "hv-files"
    window.choose("#hv-files", *images[:3])
    settled(window)
    hidden = "getComputedStyle(document.querySelector('.hv-heat')).visibility"
    assert window.js(hidden) == "visible"
    window.press("Tab")
    assert window.js(focused) == "hv-heat"
    window.press(" ")
    assert window.js(hidden) == "hidden"
    window.press("Tab")
    assert window.js(focused) == "Save the table"
    window.press("Tab")
    assert window.js(focused) == "Remove all"
    window.press(" ")
    assert window.js("hvClassify.rows().length") == 0
    assert window.js(focused) == "hv-files"


@pytest.mark.browser
def test_the_saved_table_is_that_of_hv_predict(window, page, images, bad, tmp_path):
    files = [images[0], next(iter(bad))]
    judged(window, page, files)
    window.js("""(() => { URL.createObjectURL = (blob) => { self.saved = blob; return "#"; };
        document.querySelector(".hv-classify-tools button").click(); })()""")
    table = pd.read_csv(io.StringIO(window.js("saved.text()")))
    wanted, classes = predicted(files)
    assert list(table.columns) == columns(classes, sets=True)
    assert table["predicted"][0] == wanted[files[0].name]["predicted"]
    assert table["confidence"][0] == pytest.approx(wanted[files[0].name]["confidence"], abs=CLOSE)
    assert table.loc[1, ["predicted", "confidence", "set"]].isna().all()


@pytest.mark.browser
def test_strange_cells_sound_the_alarm(window, page, tmp_path):
    files = []
    for number in range(20):
        noise = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(noise).save(files[-1])
    rows = judged(window, page, files)
    wanted = alarm(Strangers.among(row["familiarity"] for row in rows.values()))
    tally = window.js("document.querySelector('.hv-classify-tally').textContent")
    assert bool(wanted) == ("stranger" in tally)
    assert "20 images: " in tally


@pytest.mark.browser
def test_nothing_is_asked_of_anybody(tmp_path, page, images):
    """Look at every request, from the Worker's, too, where the browser tells of them."""
    with Browser(tmp_path) as window:
        asked = window.open(page.as_uri())
        early = {url.rpartition("/")[2] for url in asked}
        assert not early & set(BUILT), "the model is loaded before an image has come"
        window.choose("#hv-files", *images[:1])
        settled(window)
        sent = [e for e in window.events if e.get("method") == "Network.requestWillBeSent"]
        asked += [event["params"]["request"]["url"] for event in sent]
        assert {url.rpartition("/")[2] for url in asked} >= set(BUILT)
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.browser
def test_a_page_without_its_parts_says_so(window, page, images, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(page.parent, alone, ignore=shutil.ignore_patterns(*BUILT))
    window.open((alone / "index.html").as_uri())
    window.choose("#hv-files", *images[:1])
    assert "is not beside this page" in settled(window)
    assert window.js("hvClassify.rows().length") == 0
