"""The order of the steps: at once what can be, one after the other what must be."""

import threading
import time

import pytest

from hv_utils.chain.schedule import run_steps
from hv_utils.chain.steps import STEPS, Step
from hv_utils.ground.errors import HematoVisionError

FORK = (
    Step("a", (), ("a.csv",)),
    Step("b", ("a.csv",), ("b.csv",)),
    Step("c", ("a.csv",), ("c.csv",)),
    Step("d", ("b.csv", "c.csv"), ()),
)


def nothing() -> None:
    pass


def spans(steps, *, jobs, work=lambda step: time.sleep(0.02)):
    """Return when each step began and ended."""
    found = {}

    def carry_out(step):
        began = time.monotonic()
        work(step)
        found[step.name] = (began, time.monotonic())

    run_steps(steps, carry_out, jobs=jobs, stop=nothing, echo=lambda line: None)
    return found


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_no_step_begins_before_what_it_reads_is_there(jobs):
    found = spans(STEPS, jobs=jobs)
    assert set(found) == {step.name for step in STEPS}
    for step in STEPS:
        for other in STEPS:
            if set(other.writes) & set(step.reads):
                assert found[other.name][1] <= found[step.name][0], (other.name, step.name)


def test_what_does_not_wait_for_each_other_runs_at_once():
    meeting = threading.Barrier(2, timeout=5)
    spans(FORK, jobs=2, work=lambda step: step.name in "bc" and meeting.wait())
    found = spans(FORK, jobs=1)
    assert sorted(found, key=found.get) == ["a", "b", "c", "d"], "one job: in their order"


def test_a_step_that_measures_runs_alone():
    steps = (*FORK[:2], Step("c", ("a.csv",), ("c.csv",), alone=True), Step("e", (), ()), FORK[3])
    found = spans(steps, jobs=3)
    began, ended = found.pop("c")
    assert all(end <= began or start >= ended for start, end in found.values())
    assert {step.name for step in STEPS if step.alone} == {"06_prediction"}


def test_after_a_failure_the_others_end_and_nothing_begins():
    lines, ended, failed = [], [], threading.Event()

    def carry_out(step):
        if step.name == "b":
            failed.set()
            raise HematoVisionError("b failed")
        if step.name == "c":
            failed.wait(5)
            time.sleep(0.1)
        ended.append(step.name)

    with pytest.raises(HematoVisionError, match="b failed"):
        run_steps(FORK, carry_out, jobs=2, stop=nothing, echo=lines.append)
    assert ended == ["a", "c"]
    assert lines == ["b failed; what runs beside it comes to its end: c"]


def test_what_runs_is_stopped_where_this_process_is():
    running, stopped = threading.Event(), threading.Event()

    def carry_out(step):
        if step.name in "bc":
            running.set()
            assert stopped.wait(5)
            raise HematoVisionError("its kernel died")

    def echo(line):
        raise KeyboardInterrupt

    steps = (*FORK, Step("z", (), ()))

    def broken(step):
        if step.name == "z":
            running.wait(5)
            raise HematoVisionError("z failed")  # its line is where the process is told to stop
        carry_out(step)

    with pytest.raises(KeyboardInterrupt):
        run_steps(steps, broken, jobs=3, stop=stopped.set, echo=echo)
    assert stopped.is_set()
