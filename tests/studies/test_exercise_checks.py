"""Each check lets the solution pass and holds back the stub and three typical mistakes."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT
from hv_utils.classroom.exercises import PAPER, pages_with_exercises, read_exercises
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.studies import notebook_checks, paper_checks  # noqa: F401 (both fill CHECKS)
from hv_utils.studies.exercise_checks import CHECKS, check, same, seal

EXERCISES = [one for page in pages_with_exercises() for one in read_exercises(page)]
CHECKED = [one for one in EXERCISES if one.stub]


def name(exercise) -> str:
    return f"{exercise.page}/{exercise.number}"


def test_there_are_enough_and_each_has_a_check_or_says_why_not():
    assert len(EXERCISES) >= 36
    assert len(CHECKED) >= 30
    assert {(one.page, one.number) for one in CHECKED} == set(CHECKS)
    assert all(len(one.mistakes) == 3 for one in CHECKED)


def outcomes(run, folder, *pages: str) -> dict:
    command = [sys.executable, ROOT / "tests" / "exercise_outcomes.py", run, folder / "out.json"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    result = subprocess.run([*command, *pages], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def hold_to(told: dict) -> None:
    assert "error" not in told, told.get("error")
    right, words = told["solution"]
    assert right, words
    assert not told["stub"][0]
    for number, (passed, _) in enumerate(told["mistakes"], start=1):
        assert not passed, f"typical mistake {number} passes"


@pytest.fixture(scope="module")
def on_paper(tmp_path_factory) -> dict:
    return outcomes("none", tmp_path_factory.mktemp("paper"), PAPER)


@pytest.mark.parametrize("exercise", [e for e in CHECKED if e.page == PAPER], ids=name)
def test_on_paper(on_paper, exercise):
    hold_to(on_paper[name(exercise)])


@pytest.fixture(scope="session")
def on_smoke(smoke, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("checks")
    return outcomes(shutil.copytree(smoke.folder, folder / "run"), folder)


@pytest.mark.slow
@pytest.mark.xdist_group("smoke")
@pytest.mark.parametrize("exercise", [e for e in CHECKED if e.page != PAPER], ids=name)
def test_in_a_notebook(on_smoke, exercise):
    hold_to(on_smoke[name(exercise)])


class TestCheck:
    def test_what_is_open_is_named(self):
        told = check("paper", 6, called=67, share=...)
        assert not told
        assert repr(told) == "Exercise 6 is open: fill share."

    @pytest.mark.parametrize("share", ["a lot", None, [0.1], {}, float("nan")])
    def test_nonsense_is_no_crash(self, share):
        told = check("paper", 6, called=67, share=share)
        assert not told
        assert told.words.count("\n") == 0

    def test_an_exercise_without_a_check_is_refused(self):
        with pytest.raises(HematoVisionError, match="expected an exercise that has a check"):
            check("paper", 99)

    def test_a_run_that_lacks_a_file_is_no_wrong_answer(self, tmp_path):
        with pytest.raises(HematoVisionError, match=r"images\.csv"):
            check("01_data", 1, Run.open(tmp_path), cell="00001", share=0.1)

    def test_the_words_do_not_tell(self):
        told = check("paper", 1, names=["neutrophil"] * 12)
        assert told.words == "Exercise 1 is not right yet: 3 of 12 names are right."


def test_a_seal_is_of_the_hundredths():
    assert seal(0.8333) == seal(np.float64(0.83)) != seal(0.84)
    assert seal({"B ", "a"}) == seal({"A", "b"})


def test_numbers_and_mappings_of_them_are_compared():
    same("x", {1: 0.5}, {1: 0.503})
    same("x", float("nan"), float("nan"))
    for given in ({1: 0.6}, {2: 0.5}, 0.5):
        with pytest.raises(Exception, match="x"):
            same("x", given, {1: 0.5})


def test_the_table_of_limits_is_the_one_that_is_computed():
    from hv_utils.scores.differential import rumke_table

    text = (ROOT / "book" / "exercises" / "paper.md").read_text(encoding="utf-8")
    for share, row in rumke_table().head(5).iterrows():
        assert f"| {share} | {' | '.join(row)} |" in text
