"""Work handed to processes: killed ones are replaced, and nothing is lost or read too far ahead."""

import os
import signal
import time
from pathlib import Path

import pytest

from hv_utils.ground import workers as hands
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.workers import done, workers


def square(number):
    return number**2


def die_once(number, mark):
    if number == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number):
    raise HematoVisionError(f"expected another, but got {number}: give one")


def sleep(mark):
    Path(mark).write_text(str(os.getpid()))
    time.sleep(100)


def test_what_a_killed_process_had_in_hand_is_done_again(tmp_path):
    with workers(None, count=2) as pool:
        found = dict(done(pool, die_once, ((n, str(tmp_path / "mark")) for n in range(12))))
    assert {number: result for (number, _), result in found.items()} == {
        number: number**2 for number in range(12)
    }


def test_pieces_are_read_when_there_is_work_for_them():
    asked = []

    def endless():
        for number in range(10_000):
            asked.append(number)
            yield (number,)

    with workers(None, count=1) as pool:
        found = done(pool, square, endless())
        (number,), squared = next(found)  # whichever of those at hand ends first
        assert squared == number**2
        assert number < 4
        assert len(asked) <= 4
        found.close()


@pytest.mark.parametrize(
    ("function", "words"), [(die, "one was killed 2 times"), (refuse, "but got 0")]
)
def test_what_cannot_be_done_is_one_line(monkeypatch, function, words):
    monkeypatch.setattr(hands, "MOST_BREAKS", 1)
    with pytest.raises(HematoVisionError, match=words), workers(None, count=1) as pool:
        list(done(pool, function, [(0,)]))


def test_a_stop_leaves_no_process_behind(tmp_path):
    import psutil

    mark = tmp_path / "mark"

    def stop():
        with workers(None, count=1) as pool:
            pool.submit(sleep, str(mark))
            while not mark.exists() or not mark.read_text():
                time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not psutil.pid_exists(int(mark.read_text()))
