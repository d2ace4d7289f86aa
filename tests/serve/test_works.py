"""A further route is one entry; what goes wrong inside is one line, and the log names nobody."""

import json
import logging
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from hv_utils.inference.preparation import Shown
from hv_utils.serve.limits import Limits
from hv_utils.serve.server import JsonLines
from hv_utils.serve.service import create_app
from hv_utils.serve.works import WORKS, Model, Work
from running_service import in_a_thread

gate = threading.Event()


def sizes(model):
    """Tell how long each file is; of what is called slow after a while, of what is bad never."""

    def judge(pairs):
        for picture, _ in pairs:
            if picture.name.startswith("slow"):
                gate.wait(20)
            if picture.name.startswith("bad"):
                raise RuntimeError(f"no idea what {picture} is")
        return [{"path": str(p), "size": len(p.content), "reason": ""} for p, _ in pairs]

    return Work(["path", "size"], lambda _: [Shown(None)], judge, lambda rows: {"n": len(rows)})


@pytest.fixture(scope="module")
def model():
    return Model.open()


@pytest.fixture
def client(model):
    gate.clear()
    limits = Limits(seconds=2)
    app = create_app(model, limits=limits, works={**WORKS, "sizes": sizes})
    with in_a_thread(app, limits) as one:
        yield one
        gate.set()


def send(client, *names):
    return client.send([(name, b"abc") for name in names], path="/sizes")


def test_a_further_work_is_a_route_like_the_first(client):
    assert send(client, "a", "b")[2] == {
        "rows": [{"path": name, "size": 3, "reason": ""} for name in "ab"],
        "n": 2,
    }
    described = client.ask("GET", "/openapi.json")[2]["paths"]
    assert {"/predict", "/sizes"} <= set(described)
    assert client.ask("GET", "/model")[2]["columns"]["sizes"] == ["path", "size", "reason"]


def test_who_waits_too_long_is_asked_to_come_again(client):
    status, headers, told = send(client, "slow")
    assert (status, headers["retry-after"]) == (503, "2")
    assert told["error"].startswith("expected an answer within 2 s")


def test_a_fault_is_one_line_and_the_log_says_where(client, caplog):
    with caplog.at_level(logging.INFO, "hv.serve"):
        status, _, told = send(client, "bad Jane")
        while not caplog.records:  # it is written behind the answer
            time.sleep(0.01)
    assert status == 500
    assert told["error"].startswith("expected to serve this, but the service has a fault")
    (record,) = [one for one in caplog.records if one.name == "hv.serve"]
    line = json.loads(JsonLines().format(record))
    assert line["status"] == 500
    assert "judge" in line["error"]
    assert "Jane" not in JsonLines().format(record)
    assert send(client, "good")[0] == 200


def test_a_count_over_http_is_that_of_the_command(model, tmp_path):
    """The same fields, the same rows; a field without cells and a broken one have a row each."""
    import numpy as np
    import pandas as pd
    from PIL import Image

    from hv_utils.drawn.smear import draw_photo
    from hv_utils.inference.counting import COLUMNS, count_fields

    Image.fromarray(draw_photo("monocyte", rng=np.random.default_rng(1)).image).save(
        tmp_path / "a.png"
    )
    Image.fromarray(np.full((480, 640, 3), 235, np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no image")
    table = tmp_path / "own.csv"
    count_fields([tmp_path / "a.png"], csv=table, complain=lambda line: None)
    with in_a_thread(create_app(model, limits=Limits()), Limits()) as client:
        names = ("a.png", "b.png", "c.png")
        files = [(name, (tmp_path / name).read_bytes()) for name in names]
        rows = client.send(files, path="/count")[2]["rows"]
    assert set(rows[0]) == {*COLUMNS, "reason"}
    by_field = {name: [row for row in rows if row["path"] == name] for name in names}
    own = pd.read_csv(table, keep_default_na=False)
    for row, (_, expected) in zip(by_field["a.png"], own.iterrows(), strict=True):
        assert row["kind"] == expected["kind"]
        assert row["predicted"] == expected["predicted"]
        assert row["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)
        assert row["xmin"] == expected["xmin"]
    (blank,), (broken,) = by_field["b.png"], by_field["c.png"]
    assert blank["status"] == "not_a_cell"
    assert "nothing stands out" in blank["reason"]
    assert broken["status"] == "unreadable"
    assert broken["xmin"] is None


def test_a_model_of_whole_pictures_does_not_count(tmp_path):
    from hv_utils.inference.onnx_model import SHIPPED_MODEL
    from hv_utils.serve.works import works_of

    assert set(works_of(Model.open(SHIPPED_MODEL))) == {"predict", "look"}
