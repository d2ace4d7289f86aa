"""Requests in bad faith: each gets its answer, none a 500, and nothing stays behind."""

import sys
import time

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from conftest import ROOT
from running_service import running

sys.path.insert(0, str(ROOT / "scripts"))
import hostile_uploads as hostile

sys.path.pop(0)
CASES = {case.name: case for case in hostile.all_cases()}


@pytest.fixture(scope="module")
def service():
    with running(*[word for pair in hostile.LIMITS.items() for word in pair]) as one:
        warm(one)
        yield one


def warm(service):
    answers = [hostile.talk(service.address, hostile.whole(part())) for _ in range(3)]
    assert [status for status, _ in answers] == [200] * 3


def part() -> bytes:
    return hostile.part("cell.png", hostile.image())


@pytest.mark.parametrize("name", CASES)
def test_it_is_answered_as_it_should(service, name):
    status, answer = CASES[name].send(service.address)
    assert status in CASES[name].statuses, answer
    if status == 200:
        assert [row["status"] for row in answer["rows"]] == [CASES[name].row]
        assert all(row["path"].isprintable() for row in answer["rows"])
    told = [answer["error"]] if answer and "error" in answer else []
    told += [row["reason"] for row in answer["rows"]] if status == 200 else []
    assert all(one.startswith("expected ") and "\n" not in one for one in told)
    assert hostile.is_well(service.address)


def test_a_crowd_is_turned_away_and_leaves_nothing(service):
    before = service.about.num_fds(), service.about.num_threads()
    found = hostile.crowd(service.address, 600)
    assert found["refused"] >= 600 - 512
    until = time.monotonic() + 20
    while service.about.num_fds() > before[0] and time.monotonic() < until:
        time.sleep(0.1)
    assert service.about.num_fds() <= before[0]
    assert service.about.num_threads() <= before[1]
    assert hostile.is_well(service.address)


def spell(service, times: int) -> int:
    """The bytes that the service has grown by over the costliest uploads."""
    before = service.about.memory_info().rss
    for _ in range(times):
        for name in ("an endless file", "zeros", "10,000 files"):
            CASES[name].send(service.address)
    return service.about.memory_info().rss - before


def test_it_holds_no_memory_and_logs_no_fault(service):
    """Run last: what all of the above has left. A leak grows in each spell, an allocator rests."""
    spell(service, times=1)
    assert min(spell(service, times=4) for _ in range(3)) < 4e6
    warm(service)
    assert service.end() == 0
    assert not [line for line in service.log if '"status": 500' in line or '"error"' in line]
