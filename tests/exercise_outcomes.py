"""What the checks say of each exercise: of its solution, its stub, and its typical mistakes.

    python tests/exercise_outcomes.py RUN_FOLDER OUT.json [PAGE …]

Writes by page and number a mapping with `solution`, `stub` and `mistakes`, each what the check said
and whether it was right; `error` where the code itself failed.
"""

import contextlib
import io
import json
import sys
import time
import traceback
from pathlib import Path

from hv_utils.classroom.exercises import pages_with_exercises, parts_of, read_exercises
from hv_utils.ground.runs import Run
from hv_utils.studies.exercise_checks import check


def judge(exercise, run, names: dict) -> list:
    verdict = check(
        exercise.page, exercise.number, run, **{name: names[name] for name in exercise.names}
    )
    return [bool(verdict), verdict.words]


def outcome(exercise, run) -> dict:
    names = {"run": run}
    for kind, text in parts_of(exercise.solution):
        if kind == "code":
            exec(text, names)
    if not exercise.stub:
        return {}
    told = {"solution": judge(exercise, run, names), "mistakes": []}
    blank: dict = {}
    exec(exercise.stub, blank)
    told["stub"] = judge(exercise, run, blank)
    for mistake in exercise.mistakes:
        wrong = dict(names)
        exec(mistake, wrong)
        told["mistakes"].append(judge(exercise, run, wrong))
    return told


def main(folder: str, out: str, *pages: str) -> None:
    run, found = Run.open(folder), {}
    for page in pages or pages_with_exercises():
        for exercise in read_exercises(page):
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    told = outcome(exercise, run)
                except Exception:
                    told = {"error": traceback.format_exc()}
            told["seconds"] = round(time.perf_counter() - started, 1)
            found[f"{page}/{exercise.number}"] = told
            Path(out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    import matplotlib

    matplotlib.use("agg")
    main(*sys.argv[1:])
