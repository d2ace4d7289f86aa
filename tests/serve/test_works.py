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
