"""The service from outside: what is answered to whom, and what is not."""

import io
import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hv_utils.drawn.smear import draw_photo
from hv_utils.inference.labelling import label_images
from hv_utils.inference.onnx_model import SHIPPED_MODEL

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from running_service import running

TOKEN = "a-token-long-enough-0123"


def photo(label: str, seed: int, kind: str = "PNG", size=(320, 240)) -> bytes:
    drawn = draw_photo(label, rng=np.random.default_rng(seed)).image
    file = io.BytesIO()
    Image.fromarray(drawn).resize(size).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def service():
    with running() as one:
        yield one


@pytest.fixture(scope="module")
def files():
    """Return what people send: good pictures of several formats, and some that are none."""
    made = [
        ("eosinophil.png", photo("eosinophil", 1)),
        ("große Zelle.jpg", photo("lymphocyte", 2, "JPEG")),
        ("b/monocyte.tif", photo("monocyte", 3, "TIFF")),
        ("neutrophil.webp", photo("neutrophil", 4, "WEBP")),
        ("field.png", photo("neutrophil", 5, size=(640, 480))),
        ("copy.png", photo("eosinophil", 1)),
    ]
    blank = io.BytesIO()
    Image.new("RGB", (200, 200), "white").save(blank, "PNG")
    none = [("blank.png", blank.getvalue()), ("cut.png", made[0][1][:5000]), ("text.png", b"text")]
    return [*made[:3], *none, *made[3:], ("empty.png", b"")]


def same(here, there) -> bool:
    if isinstance(there, float):
        missing = here is None and math.isnan(there)
        return missing or math.isclose(here, there, abs_tol=1e-6)
    return here == there


@pytest.mark.parametrize("model", [None, SHIPPED_MODEL])
def test_the_rows_are_those_of_hv_predict(service, tmp_path, files, model):
    paths = [tmp_path / name.replace("/", "-") for name, _ in files]
    for path, (_, content) in zip(paths, files, strict=True):
        path.write_bytes(content)
    reasons = []
    report = label_images(paths, model=model, complain=reasons.append, csv=tmp_path / "table.csv")
    columns = (tmp_path / "table.csv").read_text().splitlines()[0].split(",")
    if model is None:
        status, _, told = service.send(files)
    else:
        with running("--model", model, "--batch-size", 3) as one:
            status, _, told = one.send(files)
    assert status == 200
    names = dict(zip(map(str, paths), [name for name, _ in files], strict=True))
    assert len(told["rows"]) == len(report.rows) >= len(files)
    for here, there in zip(told["rows"], report.rows, strict=True):
        assert list(here) == [*columns, "reason"]
        wanted = {**there, "path": names[there["path"]]}
        wanted["reason"] = there["reason"].replace(there["path"], wanted["path"])
        wrong = [name for name in here if not same(here[name], wanted.get(name, ""))]
        assert not wrong, (here, wanted)
    assert {row["status"] for row in told["rows"]} > {"ok", "unreadable"}


def test_many_at_once_get_each_their_own(service, files):
    good = [one for one in files if one[0].endswith(("png", "jpg", "webp"))]
    alone = {name: service.send([(name, content)])[2]["rows"] for name, content in good}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda one: service.send([one]), good * 6))
    for (name, _), (status, _, told) in zip(good * 6, answers, strict=True):
        assert status == 200
        for here, there in zip(told["rows"], alone[name], strict=True):
            assert all(same(here[key], there[key]) for key in there)


def test_it_tells_of_itself(service):
    status, headers, health = service.ask("GET", "/health")
    assert (status, health) == (200, {"status": "ok", "waiting": 0, "queue": 256})
    assert "server" not in headers
    model = service.ask("GET", "/model")[2]
    assert model["name"] == "travelling.onnx"
    assert model["columns"]["predict"][0] == "path"
    described = service.ask("GET", "/openapi.json")[2]
    assert set(described["paths"]) == {"/", "/health", "/model", "/predict", "/count", "/look"}


def test_the_page_asks_nobody_else(service):
    status, headers, page = service.ask("GET", "/")
    assert status == 200
    assert "Nothing here is for diagnosis" in page
    assert "http://" not in page
    assert "https://" not in page
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert service.ask("GET", "/docs")[0] == service.ask("GET", "/redoc")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/predict", {}, 405),
        ("POST", "/predict?why=1", {}, 422),
        ("POST", "/predict", {}, 422),
        ("GET", "/health", {"Host": "cells.example"}, 400),
    ],
)
def test_a_refusal_is_one_line(service, method, path, headers, status):
    found, _, told = service.ask(method, path, **headers)
    assert found == status
    assert list(told) == ["error"]
    assert told["error"].startswith("expected ")
    assert "\n" not in told["error"]


def test_a_token_is_asked_for_where_one_is_set(files):
    with running("--host", "127.0.0.1", "--token", TOKEN) as one:
        assert one.send(files[:1])[0] == 401
        assert one.send(files[:1], Authorization="Bearer wrong")[0] == 401
        assert one.send(files[:1], Authorization=f"Basic {TOKEN}")[0] == 401
        assert one.send(files[:1], Authorization="Bearer \xe9")[0] == 401
        assert one.send(files[:1], Authorization=f"Bearer {TOKEN}")[0] == 200
        assert one.ask("GET", "/model")[0] == one.ask("GET", "/openapi.json")[0] == 401
        assert one.ask("GET", "/health")[0] == one.ask("GET", "/")[0] == 200


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "0.0.0.0"], "expected a token where others can reach the service"),
        (["--host", "", "--token", ""], "expected a token of at least 16"),
        (["--host", "0.0.0.0", "--token", "short"], "expected a token of at least 16"),
        (["--max-files", "300"], "expected a queue that holds the pictures of one request"),
        (["--timeout", "0"], "expected a limit above 0"),
        (["--model", "none.onnx"], "expected an exported model"),
        (["--um-per-pixel", "7"], "expected"),
        (["--model", str(SHIPPED_MODEL), "--um-per-pixel", "0.1"], "expected no --um-per-pixel"),
        (["--host", "203.0.113.7", "--token", TOKEN], "expected a free address"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(flags, said):
    command = [sys.executable, "-m", "hv_utils.cli", "serve", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"hv: {said}")
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken(service):
    command = [sys.executable, "-m", "hv_utils.cli", "serve", "--port", str(service.address[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "name another --port" in done.stderr


def test_without_the_extra_it_says_how_to_install_it(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')\n")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from hv_utils.cli import main; main()"
    command = [sys.executable, "-c", code, str(tmp_path), "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "uvicorn is not installed: pip install 'hematovision[serve]'" in done.stderr


def test_too_much_is_refused(files):
    with running("--max-files", 2, "--max-mb", 0.5, "--max-megapixels", 0.1) as one:
        status, _, told = one.send([("a.png", b"x")] * 3)
        assert (status, told["error"][:30]) == (413, "expected at most 2 files in on")
        status, _, told = one.send([("a.png", bytes(600_000))])
        assert (status, told["error"][:32]) == (413, "expected at most 0.5 MB in one r")
        row = one.send([("field.png", photo("monocyte", 0, "JPEG", (640, 480)))])[2]["rows"][0]
        assert row["status"] == "unreadable"
        assert row["reason"].startswith("expected at most 0.1 megapixels here, but field.png has")
        assert one.send(files[:1])[0] == 200


def test_a_full_queue_asks_to_come_again(files):
    many = files[:1] * 8
    with running("--max-files", 8, "--queue", 8) as one:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: one.send(many), range(12)))
        found = {status for status, _, _ in answers}
        assert found == {200, 503}
        for status, headers, told in answers:
            if status == 503:
                assert int(headers["retry-after"]) >= 1
                assert told["error"].startswith("expected room for 8 pictures, but ")
            else:
                assert len(told["rows"]) >= 8
        assert one.send(many)[0] == 200


def test_a_large_file_is_never_on_the_disk(service):
    """The process may write no byte to any file, and Starlette by itself would, above 1 MB."""
    pixels = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    assert len(file.getvalue()) > 2_000_000
    status, _, told = service.send([("large.bmp", file.getvalue())])
    assert status == 200
    assert told["rows"][0]["status"] != "unreadable"


def test_a_stop_finishes_what_was_taken_and_the_log_names_nobody(files):
    with running() as one:
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(one.send, [("Jane Doe.png", files[0][1])] * 6) for _ in range(4)]
            while one.ask("GET", "/health")[2]["waiting"] < 12:
                time.sleep(0.01)
            one.ask("GET", "/Jane%20Doe?name=Jane")
            assert one.end() == 0
            assert [answer.result()[0] for answer in answers] == [200] * 4
        lines = [json.loads(line) for line in one.log]
        assert "Jane" not in "".join(one.log)
        served = [line for line in lines if line.get("route") == "/predict"]
        assert [(line["status"], line["files"]) for line in served] == [(200, 6)] * 4
        assert {"time", "level", "event", "ms", "rows", "bytes", "method"} <= set(served[0])
        assert lines[-1]["event"] == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_after_a_kill_it_starts_on_the_same_port(files):
    with running() as one:
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(one.send, files[:1] * 20) for _ in range(4)]
            while one.ask("GET", "/health")[2]["waiting"] < 12:
                time.sleep(0.01)
            one.process.kill()
            assert all(answer.exception() for answer in answers)
        with running(port=one.address[1]) as again:
            assert again.send(files[:1])[0] == 200
