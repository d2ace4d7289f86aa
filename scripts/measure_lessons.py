"""Measure what running takes in the lessons: each notebook of a student, in an installed kit.

Every notebook that a lesson runs is executed once, as a student has it, on the kit's own copy of
the run; the first lesson draws its own. What counts is the time that the processor worked for it,
as a single core would need it, so that other work on the machine does not; the time on the wall
stands beside it.

Usage: python scripts/measure_lessons.py KIT/machine results/lessons.json [NOTEBOOK ...]
With names, those alone are measured, and the record keeps the others.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from hv_utils.classroom.lessons import lesson_names, read_lesson
from hv_utils.classroom.minutes import RUNNING
from hv_utils.ground.files import dump_json, renewed_json, write_text
from hv_utils.ground.runs import environment

EXECUTE = """
import json, sys
from datetime import datetime
import nbformat
from nbclient import NotebookClient
path, run_dir = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
for cell in notebook.cells:
    if "parameters" in cell.metadata.get("tags", []):
        cell.source += f"\\nrun_dir = {run_dir!r}"
NotebookClient(notebook, timeout=None, resources={"metadata": {"path": "notebooks"}}).execute()
took = {}
for cell in notebook.cells:
    about = cell.metadata.get("execution", {})
    ends = [about.get(name) for name in ("iopub.execute_input", "shell.execute_reply")]
    if all(ends):
        begin, end = (datetime.fromisoformat(one.replace("Z", "+00:00")) for one in ends)
        took[cell.source.splitlines()[0]] = (end - begin).total_seconds()
line = max(took, key=took.get)
print(json.dumps({"longest_cell_s": round(took[line], 1), "longest_cell": line}))
"""


def execute(folder: Path, name: str, run_dir: str) -> dict:
    """Execute a notebook of the kit in `folder`; return how long it took."""
    python = folder / ".venv" / "bin" / "python"
    command = [python, "-c", EXECUTE, folder / "notebooks" / f"{name}.ipynb", run_dir]
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    longest = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": round(worked, 1), "wall_s": round(wall, 1), **longest}


def main(machine: str, target: str, *names: str) -> None:
    """Write the record, anew behind each notebook."""
    folder, about = Path(machine).absolute(), environment()
    measured = renewed_json(Path(target)).get("notebooks", {}) if names else {}
    running = {
        name: "runs/lesson" if lesson == "1-cells" else "runs/demo"
        for lesson in reversed(lesson_names())
        for step in read_lesson(lesson).steps
        if step.how == RUNNING and len(step.names) == 1  # several are run by the chain
        for name in step.names
    }
    for name in names or running:
        run_dir = running[name]
        measured[name] = execute(folder, name, run_dir)
        print(name, measured[name], flush=True)
        record = {
            "command": "python scripts/measure_lessons.py KIT/machine results/lessons.json",
            "git_commit": about["git_commit"],
            "machine": about["machine"],
            "notebooks": dict(sorted(measured.items())),
        }
        write_text(Path(target), dump_json(record))


if __name__ == "__main__":
    main(*sys.argv[1:])
