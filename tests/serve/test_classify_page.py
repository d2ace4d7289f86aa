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

from hv_utils.drawn.paper import counting_field
from hv_utils.drawn.smear import draw_photo
from hv_utils.inference.familiarity import Strangers, alarm
from hv_utils.inference.predict import (
    SHIPPED_MODEL,
    TRAVELLING_MODEL,
    columns,
    open_classifier,
    predict_rows,
)
from hv_utils.inference.preparation import preparation_of
from hv_utils.serve import runtime
from hv_utils.serve.classify_page import MODELS, write_page

pytestmark = pytest.mark.xdist_group("classify")
CLOSE = 1e-4
DRAFTED = 0.05  # of large JPEGs, which Python shrinks while it decodes
HOME, TRAVELLING = SHIPPED_MODEL, TRAVELLING_MODEL
ROWS = """JSON.stringify(hvClassify.rows().map((row) => ({
    ...row, pixels: null, heat: row.heat && Array.from(row.heat.values) })))"""
SAYS = "document.querySelector('.hv-classify-says').textContent"
BUILT = ("classify-model-travelling.js", "classify-runtime.js", "classify-opencv.js")
OTHER = "classify-model-hematovision.js"


# ------------------------------------------------------------------ what is written


def facts_of(folder: Path) -> dict:
    text = (folder / "classify-facts.js").read_text()
    return json.loads(text.removeprefix("hvClassify = { facts: ").removesuffix(" };\n"))


def test_the_page_without_the_packages_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    page = write_page(tmp_path / "page")
    names = [package.name for package in runtime.PACKAGES]
    assert f"npm pack {' '.join(names)}" in page.read_text()
    facts = facts_of(page.parent)
    assert facts["lacking"] == names
    assert [model["able"] for model in facts["models"]] == [False, False]
    assert not list((tmp_path / "page").glob("classify-[ro]*.js"))


def test_parts_stay_while_models_and_packages_are_the_same(tmp_path, monkeypatch):
    lack_packages()
    write_page(tmp_path)
    model, *packages = (tmp_path / name for name in BUILT)
    text, stamp = model.read_text(), model.stat().st_mtime_ns
    write_page(tmp_path)
    assert model.stat().st_mtime_ns == stamp
    model.write_text("// of another model\n" + text.partition("\n")[2])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    write_page(tmp_path)
    assert model.read_text() == text
    assert not [path for path in packages if path.exists()], "the page says that it has none"


def test_words_come_with_the_model_whose_features_they_read(tmp_path):
    write_page(tmp_path)
    looks = {model["key"]: model.get("looks") for model in facts_of(tmp_path)["models"]}
    assert looks["travelling"]["words"]
    assert looks["hematovision"] is None


def lack_packages() -> None:
    if lacking := runtime.fetch_runtime():
        pytest.skip(lacking)


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

    @pytest.mark.parametrize("package", runtime.PACKAGES)
    def test_another_package_is_not_taken(self, package):
        tarball = runtime.cache() / package.tarball
        tarball.parent.mkdir(parents=True)
        tarball.write_bytes(b"another")
        assert "damaged or another" in runtime.fetch(package)
        assert runtime.kept_files(package) == {}

    @pytest.mark.parametrize("package", runtime.PACKAGES)
    def test_a_damaged_file_is_none(self, package):
        package.folder.mkdir(parents=True)
        for file, _ in package.files.values():
            (package.folder / Path(file).name).write_bytes(b"cut")
        assert runtime.kept_files(package) == {}


# ------------------------------------------------------------------ in the browsers


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    lack_packages()
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


def judged(window, page: Path, files: list[Path], model: Path = HOME) -> list[dict]:
    window.open(page.as_uri())
    window.js(f"document.querySelector('input[value={model.stem}]').click()")
    window.choose("#hv-files", *files)
    assert settled(window).startswith("Done")
    return json.loads(window.js(ROWS))


def predicted(files: list[Path], model: Path = HOME) -> tuple[list[dict], list[str]]:
    classify, meta = open_classifier(model, cam=True, why=model == TRAVELLING)
    about = {"classes": meta["classes"], "size": meta["size"], "prepare": preparation_of(meta)}
    return list(predict_rows(files, classify, **about)), meta["classes"]


def compare(window, page: Path, files: list[Path], model: Path = HOME) -> list[dict]:
    """Hold the browser's rows against Python's, and return the browser's."""
    found, (wanted, classes) = judged(window, page, files, model), predicted(files, model)
    assert [row["path"] for row in found] == [Path(row["path"]).name for row in wanted]
    faults = [
        fault
        for row, want in zip(found, wanted, strict=True)
        if (fault := apart(row, want, classes))
    ]
    assert not faults
    return found


def apart(row: dict, want: dict, classes: list[str]) -> str:
    """Say where a row of the browser is another than Python's; "" where it is the same."""
    names = [name for name in ("status", "cell", "x", "y", "why") if name in row]
    different = [f"{name}: {row[name]} {want[name]}" for name in names if row[name] != want[name]]
    if "probabilities" in row:
        probs = [want[f"prob_{kind}"] for kind in classes]
        gaps = (
            abs(np.subtract(row["probabilities"], probs)).max(),
            abs(row["heat"] - want["heat_map"].ravel()).max(),
        )
        if max(gaps) > (DRAFTED if row.get("drafted") else CLOSE):
            different.append(f"apart by {gaps}")
        if not row.get("drafted"):
            members = [kind for kind, kept in zip(classes, row["members"], strict=True) if kept]
            if want["status"] != "not_a_cell" and "|".join(members) != want["set"]:
                different.append(f"set: {members} {want['set']}")
            if abs(row["familiarity"] - want["familiarity"]) > 1e-9:
                different.append("familiarity")
    elif want["confidence"] == want["confidence"]:
        different.append("no figures")
    return f"{row['path']}: {different}" if different else ""


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
    assert {row["status"] for row in rows} == {"ok", "unsure", "not_a_cell"}
    assert [row["path"] for row in rows if row["drafted"]] == ["large.jpg"]


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> list[Path]:
    """Write drawn pictures of many sizes, whole fields, and what shows no cell."""
    folder, found = tmp_path_factory.mktemp("fields"), {}
    for number, kind in enumerate(("eosinophil", "monocyte", "lymphocyte", "neutrophil")):
        found[kind] = draw_photo(kind, rng=np.random.default_rng(number)).image
    cell = found["monocyte"]
    found["field"] = counting_field().image
    found["pair"] = np.hstack([found["eosinophil"], found["neutrophil"]])
    found["cut"] = found["lymphocyte"][:, 320:]
    found["border"] = np.pad(found["lymphocyte"], ((60, 0), (0, 80), (0, 0)))
    for side in (30, 60, 240, 1500):
        small = Image.fromarray(cell).resize((side * 4 // 3, side), Image.Resampling.BICUBIC)
        found[f"{side}-high"] = np.array(small)
    found["noise"] = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    found["black"], found["white"] = (
        np.zeros((50, 60, 3), np.uint8),
        np.full((50, 60, 3), 255, "u1"),
    )
    for name, image in found.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in found]


@pytest.mark.browser
@pytest.mark.slow
def test_cells_are_found_and_told_as_by_hv_predict(window, page, fields):
    rows = compare(window, page, fields, TRAVELLING)
    assert {row["status"] for row in rows} == {"ok", "unsure", "not_a_cell"}
    assert max(row.get("cell", 0) for row in rows) > 1, "a field has several"
    assert any(row.get("why") for row in rows)
    marks = "document.querySelectorAll('.hv-field').length"
    several = {row["path"] for row in rows if row.get("cell", 0) > 1}
    assert window.js(marks) == len(several), "a field is shown with its cells"


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
    compare(window, page, files[::3], TRAVELLING)


@pytest.mark.browser
@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", ["pbc-part", "raabin-part", "draaslan"])
def test_cells_of_other_laboratories_get_pythons_verdicts(
    window, page, real_archive, name, tmp_path
):
    source = real_archive.with_name(f"{name}.zip")
    if not source.is_file():
        pytest.skip(f"{source.name} is not beside the repository (../shared/data)")
    files = []
    with zipfile.ZipFile(source) as archive:
        pictures = [n for n in archive.namelist() if n.endswith((".jpg", ".png"))]
        for number, one in enumerate(pictures[:: max(1, len(pictures) // 15)]):
            files.append(tmp_path / f"{number}{Path(one).suffix}")
            files[-1].write_bytes(archive.read(one))
    compare(window, page, files, TRAVELLING)


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
    rows = {row["path"]: row for row in judged(window, page, files)}
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
    assert window.js("document.activeElement.value") == "travelling"
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
    assert window.js(focused) == "hv-coverage"
    window.press("Tab")
    assert window.js(focused) == "Save the table"
    window.press("Tab")
    assert window.js(focused) == "Remove all"
    window.press(" ")
    assert window.js("hvClassify.rows().length") == 0
    assert window.js(focused) == "hv-files"


@pytest.mark.browser
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_the_saved_table_is_that_of_hv_predict(window, page, images, bad, model):
    files = [images[0], next(iter(bad))]
    judged(window, page, files, model)
    window.js("""(() => { URL.createObjectURL = (blob) => { self.saved = blob; return "#"; };
        document.querySelector(".hv-classify-tools button").click(); })()""")
    table = pd.read_csv(io.StringIO(window.js("saved.text()")))
    (wanted, *_), classes = predicted(files, model)
    cells = model == TRAVELLING
    assert list(table.columns) == columns(classes, cells=cells, sets=True, why=cells)
    names = ["predicted", "status", "set", *(["cell", "x", "y", "why"] if cells else [])]
    assert table.loc[0, names].to_dict() == {name: wanted[name] for name in names}
    assert table["confidence"][0] == pytest.approx(wanted["confidence"], abs=CLOSE)
    assert table.loc[1, ["predicted", "confidence", "set"]].isna().all()


@pytest.mark.browser
def test_a_higher_coverage_gives_larger_sets(window, page, fields):
    rows = judged(window, page, fields[:5], TRAVELLING)
    window.js("""(() => { const one = document.getElementById("hv-coverage");
        one.value = "0.99"; one.dispatchEvent(new Event("change")); })()""")
    wide = json.loads(window.js(ROWS))
    pairs = [(sum(a["members"]), sum(b["members"])) for a, b in zip(rows, wide, strict=True)]
    assert all(before <= after for before, after in pairs)
    assert any(before < after for before, after in pairs)
    assert "at 99 %" in window.js("document.querySelector('.hv-verdicts').textContent")


@pytest.mark.browser
def test_strange_cells_sound_the_alarm(window, page, tmp_path):
    files = []
    for number in range(20):
        noise = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(noise).save(files[-1])
    rows = judged(window, page, files)
    wanted = alarm(Strangers.among(row["familiarity"] for row in rows))
    tally = window.js("document.querySelector('.hv-classify-tally').textContent")
    assert bool(wanted) == ("stranger" in tally)
    assert "20 images: " in tally


@pytest.mark.browser
def test_nothing_is_asked_of_anybody(tmp_path, page, images):
    """Look at every request, from the Worker's, too, where the browser tells of them."""
    with Browser(tmp_path) as window:
        asked = window.open(page.as_uri())
        early = {url.rpartition("/")[2] for url in asked}
        assert not early & {*BUILT, OTHER}, "a model is loaded before an image has come"
        window.choose("#hv-files", *images[:1])
        settled(window)
        sent = [e for e in window.events if e.get("method") == "Network.requestWillBeSent"]
        asked += [event["params"]["request"]["url"] for event in sent]
        loaded = {url.rpartition("/")[2] for url in asked}
        assert loaded >= set(BUILT)
        assert OTHER not in loaded, "of two models the one that judges"
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.browser
def test_a_page_without_its_parts_says_so(window, page, images, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(page.parent, alone, ignore=shutil.ignore_patterns(*BUILT))
    window.open((alone / "index.html").as_uri())
    window.choose("#hv-files", *images[:1])
    assert "is not beside this page" in settled(window)
    assert window.js("hvClassify.rows().length") == 0
