"""The queue before the model: nothing lost, nothing mixed up, nothing without bounds."""

import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from hv_utils.inference.preparation import Shown
from hv_utils.serve.batching import Batcher
from hv_utils.serve.limits import Refusal

TIMEOUT = 20


def numbers(picture):
    """Show as many cells as the picture's name says."""
    return [Shown(None, reason=f"{picture} {k}") for k in range(int(picture.split("-")[1]))]


def rows_of(pairs):
    return [{"row": one.reason} for _, one in pairs]


def test_each_picture_gets_its_own_rows():
    batcher = Batcher(numbers, rows_of, batch_size=3, workers=4)
    pictures = [f"{k}-{k % 5 + 1}" for k in range(100)]
    futures = batcher.submit(pictures)
    for picture, future in zip(pictures, futures, strict=True):
        wanted = [f"{picture} {k}" for k in range(int(picture.split("-")[1]))]
        assert [row["row"] for row in future.result(TIMEOUT)] == wanted
    batcher.close()
    assert batcher.waiting == 0


def test_pictures_of_several_requests_share_a_call():
    sizes, gate = [], threading.Event()

    def judge(pairs):
        gate.wait(TIMEOUT)
        sizes.append(len(pairs))
        return rows_of(pairs)

    batcher = Batcher(numbers, judge, batch_size=4, workers=1)
    futures = [future for k in range(9) for future in batcher.submit([f"{k}-1"])]
    while batcher._preparing:
        time.sleep(0.01)
    gate.set()
    for future in futures:
        future.result(TIMEOUT)
    batcher.close()
    assert sum(sizes) == 9
    assert sizes[1] == 4
    assert max(sizes) == 4


def test_a_lone_picture_does_not_wait_for_others(monkeypatch):
    monkeypatch.setattr("hv_utils.serve.batching.WAIT_S", TIMEOUT)
    batcher = Batcher(numbers, rows_of, workers=1)
    started = time.monotonic()
    batcher.submit(["a-1"])[0].result(TIMEOUT)
    assert time.monotonic() - started < TIMEOUT / 4
    batcher.close()


def test_a_full_queue_takes_all_or_none():
    gate = threading.Event()
    batcher = Batcher(lambda p: gate.wait(TIMEOUT) and numbers(p), rows_of, capacity=3, workers=1)
    futures = batcher.submit(["a-1", "b-1"])
    with pytest.raises(Refusal, match="expected room for 2 pictures, but 2 of at most 3") as info:
        batcher.submit(["c-1", "d-1"])
    assert info.value.status == 503
    futures += batcher.submit(["e-1"])
    gate.set()
    assert len([future.result(TIMEOUT) for future in futures]) == 3
    batcher.close()
    with pytest.raises(Refusal):
        batcher.submit(["f-1"])


def test_who_has_gone_costs_nothing():
    gate, prepared = threading.Event(), []

    def prepare(picture):
        gate.wait(TIMEOUT)
        prepared.append(picture)
        return numbers(picture)

    batcher = Batcher(prepare, rows_of, workers=1)
    first, *others = batcher.submit(["a-1", "b-1", "c-1"])
    while not first.running():
        time.sleep(0.01)
    assert all(future.cancel() for future in others)
    gate.set()
    first.result(TIMEOUT)
    batcher.close()
    assert prepared == ["a-1"]
    assert batcher.waiting == 0


@pytest.mark.parametrize("where", ["prepare", "judge"])
def test_a_fault_reaches_those_who_asked_and_nobody_else(where):
    def fail(_):
        raise MemoryError

    parts = {"prepare": numbers, "judge": rows_of}
    batcher = Batcher(*(fail if name == where else part for name, part in parts.items()))
    futures = batcher.submit(["a-1", "b-2"])
    for future in futures:
        with pytest.raises(MemoryError):
            future.result(TIMEOUT)
    batcher._prepare, batcher._judge = numbers, rows_of
    assert len(batcher.submit(["c-2"])[0].result(TIMEOUT)) == 2
    batcher.close()


def test_closing_finishes_what_was_taken():
    batcher = Batcher(lambda p: time.sleep(0.01) or numbers(p), rows_of, workers=2)
    futures = batcher.submit([f"{k}-2" for k in range(20)])
    batcher.close()
    assert all(future.done() and len(future.result()) == 2 for future in futures)
    assert not [t for t in threading.enumerate() if t.name.startswith(("judge_", "prepare"))]
