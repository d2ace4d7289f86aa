"""The chain: the notebooks as doit tasks over papermill."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hv_utils.chain import parameters
from hv_utils.chain.steps import STEPS, Step, find_step, published_inputs, used_modules
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import files_below, matches
from hv_utils.ground.runs import Run, environment
from hv_utils.network.learnt import start_files

STATE = ".doit.json"


@contextmanager
def locked(run: Run):
    """Hold the run folder for this process alone.

    Raises
    ------
    HematoVisionError
        Where another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(run.path(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise HematoVisionError(
            f"expected the run folder {run.folder} to be free, but another process is using it: "
            "wait until that one has ended, or choose another --run"
        ) from error
    except PermissionError as error:
        raise HematoVisionError(
            f"expected a run folder that can be written, but {run.folder} refuses it "
            f"({error.strerror}): choose another --run or mend its permissions"
        ) from error
    try:
        yield
    finally:
        lock.release()


def run_chain(
    profile: str,
    *,
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    from_step: str | None = None,
    until_step: str | None = None,
    force: bool = False,
    steps: Sequence[Step] = STEPS,
    echo: Callable[[str], None] = print,
) -> Run:
    """Run what is not up to date of the chain.

    Parameters
    ----------
    profile : str
        A file in `notebooks/profiles`, without its ending.
    run_dir : str or Path
        The run folder; relative paths are taken from the project's root.
    overrides : mapping, optional
        Parameters that replace the profile's.
    from_step : str, optional
        Run this step and all behind it, whether up to date or not.
    until_step : str, optional
        Leave out the steps behind this one.
    force : bool
        Run everything; the only way to put other parameters into a folder that is in use.
    steps : sequence of Step
        The chain; tests give shorter ones.
    echo : callable
        Takes the progress lines.

    Returns
    -------
    Run

    Raises
    ------
    HematoVisionError
        For unknown or ill-typed parameters, a folder in use or made with other parameters, and a
        notebook that fails.
    """
    values = {**parameters.read_profile(profile), **(overrides or {})}
    per_notebook = parameters.validate(values, [step.notebook for step in steps])
    first = steps.index(find_step(from_step, steps)) if from_step else len(steps)
    first = 0 if force else first
    last = steps.index(find_step(until_step, steps)) + 1 if until_step else len(steps)
    run = Run.open(run_dir)
    with locked(run):
        kept = [step for step in (*steps[:first], *steps[last:]) if _finished(step, run)]
        _settle_parameters(run, profile, values, kept)
        run.record(profile=profile, command=_command(), seed=values.get("seed", 0), **environment())
        tasks = [
            _task(
                step,
                run,
                per_notebook[step.notebook],
                forced=index >= first,
                heading=f"[{index + 1}/{last}] {step.name}",
            )
            for index, step in enumerate(steps[:last])
        ]
        execute(tasks, state=run.path(STATE), echo=echo)
    return run


def _command() -> str:
    """Return what the user typed, whether `hv` or `python -m hv_utils.cli`."""
    program = Path(sys.argv[0]).name
    return shlex.join(["hv" if program == "cli.py" else program, *sys.argv[1:]])


def _settle_parameters(
    run: Run, profile: str, values: Mapping[str, Any], kept: Sequence[Step]
) -> None:
    """Write params.json, or refuse a folder whose kept steps were made with other parameters."""
    if kept and run.path("params.json").exists():
        had = run.read_json("params.json")
        old = had["parameters"]
        declared = sorted({name for step in kept for name in parameters.declared(step.notebook)})
        missing = object()
        clash = [name for name in declared if old.get(name, missing) != values.get(name, missing)]
        if clash:
            was = ", ".join(f"{name}={old.get(name, 'its default')}" for name in clash)
            now = ", ".join(f"{name}={values.get(name, 'its default')}" for name in clash)
            raise HematoVisionError(
                f"expected {run.folder} to have been made with {now} (profile {profile}), but it "
                f"was made with {was} (profile {had['profile']}): choose another --run, "
                "or start it over with --force"
            )
    run.write_json("params.json", {"profile": profile, "parameters": dict(values)})


def _finished(step: Step, run: Run) -> bool:
    return all(run.path(name).exists() for name in step.writes)


def _task(
    step: Step,
    run: Run,
    values: Mapping[str, Any],
    *,
    forced: bool,
    heading: str,
) -> dict[str, Any]:
    """Return one doit task: a notebook, all it depends on and all it makes."""
    from doit.tools import config_changed

    inputs = [step.notebook, *used_modules(step.notebook), *(run.path(n) for n in step.reads)]
    inputs += published_inputs(step.notebook)
    files = [Path(values.get(name) or "") for name in ("archive", "source_map")]
    for name in ("weights", "probe_weights"):
        files += start_files(values.get(name) or "")
    inputs += [path for path in files if path.is_file()]
    executed = run.path("notebooks") / step.notebook.name
    return {
        "name": step.name,
        "title": lambda task: heading,
        "file_dep": [str(path) for path in inputs],
        "targets": [str(run.path(name)) for name in step.writes] + [str(executed)],
        "uptodate": [
            config_changed({**values, "listed": listed(values)}),
            not forced,
        ],  # both, so that a forced run is kept
        "action": lambda: run_notebook(step, run, values, heading=heading),
    }


def listed(values: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """List the files in the folders and behind the patterns that parameters name.

    Returns
    -------
    list of tuple
        Path, bytes and time of change (ns) of each, sorted: it differs when one is added, replaced
        or taken away.
    """
    named = [values[name] for name in ("archive", "folder", "images") if values.get(name)]
    found = [path for given in named for path in matches(given)]
    below = [path for folder in found if folder.is_dir() for path in files_below(folder)]
    facts = {path: path.stat() for path in (*found, *below) if path.is_file()}
    return sorted((str(path), one.st_size, one.st_mtime_ns) for path, one in facts.items())


def run_notebook(step: Step, run: Run, values: Mapping[str, Any], *, heading: str) -> None:
    """Execute one notebook into the run folder, with a progress bar over its cells.

    Raises
    ------
    HematoVisionError
        Where a cell fails: names notebook, cell and error. The partial notebook and the traceback
        stay in the run folder.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the kernels inherit it
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    executed = run.path("notebooks") / step.notebook.name
    executed.parent.mkdir(parents=True, exist_ok=True)
    traceback_file(run, step).unlink(missing_ok=True)
    started = time.perf_counter()
    bar = {"desc": heading, "bar_format": "{desc:<24} {bar:16} cell {n_fmt}/{total_fmt} {elapsed}"}
    try:
        papermill.execute_notebook(
            str(step.notebook),
            str(executed),
            parameters={**values, parameters.CHAIN_PARAMETER: str(run.folder)},
            cwd=str(step.notebook.parent),
            progress_bar=bar,
            stdout_file=sys.stdout,
            # The kernel's start has nothing to tell, and its end would tell of an interrupt.
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        traceback_file(run, step).write_text(plain, encoding="utf-8")
        reason = str(error.evalue).strip().splitlines() or [""]
        raise HematoVisionError(
            f"notebook {step.name}, cell {error.cell_index + 1} failed with {error.ename}: "
            f"{reason[0]} (the partial notebook is {executed}; mend the cause, "
            "and the same command resumes here)"
        ) from error
    seconds = round(time.perf_counter() - started, 1)
    run.record(seconds={step.name: seconds})


def traceback_file(run: Run, step: Step) -> Path:
    """Return where the traceback of a failed step is kept, beside its partial notebook."""
    return run.path("notebooks") / f"{step.name}.traceback.txt"


def execute(
    tasks: Sequence[dict[str, Any]], *, state: Path, echo: Callable[[str], None] = print
) -> None:
    """Run doit tasks in their order, skipping what is up to date, and stop at the first failure.

    Parameters
    ----------
    tasks : sequence of dict
        doit's task dictionaries, with one `action` (a callable) in place of its `actions`.
    state : Path
        Where doit keeps what it knows of the last run.
    echo : callable
        Takes a line for each task that is skipped or done.

    Raises
    ------
    HematoVisionError
        The task's own error, or one that names it.
    """
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain
    from doit.exceptions import TaskFailed
    from doit.reporter import ZeroReporter

    mistakes: list[HematoVisionError] = []  # doit itself keeps but the text of an exception
    failures: list[str] = []

    class Lines(ZeroReporter):
        def add_failure(self, task, fail):
            failures.append(f"step {task.name} failed: {fail.get_msg().strip()}")

        def skip_uptodate(self, task):
            echo(f"{task.title()}: up to date")

    def caught(action: Callable[[], None]) -> Callable[[], TaskFailed | None]:
        def run_action() -> TaskFailed | None:
            try:
                action()
            except HematoVisionError as error:
                mistakes.append(error)
                return TaskFailed(str(error))
            return None

        return run_action

    creators = {}
    for index, task in enumerate(tasks):
        body = {key: value for key, value in task.items() if key not in ("name", "action")}
        body |= {"basename": task["name"], "actions": [caught(task["action"])]}
        body |= {"io": {"capture": False}, "verbosity": 2}
        creators[f"task_{index:02d}"] = lambda body=body: body
    config = {"dep_file": str(state), "backend": "json", "reporter": Lines, "verbosity": 2}
    code = DoitMain(ModuleTaskLoader(creators), extra_config={"GLOBAL": config}).run(["run"])
    if mistakes:
        raise mistakes[0]
    if code or failures:
        raise HematoVisionError("; ".join(failures) or f"the chain stopped with status {code}")


def build_book(
    run_dir: str | Path, *, force: bool = False, echo: Callable[[str], None] = print
) -> Path:
    """Build the book from a finished run, unless nothing that it is made of has changed.

    Parameters
    ----------
    run_dir : str or Path
        The run folder.
    force : bool
        Build in any case.
    echo : callable
        Takes the progress lines.

    Returns
    -------
    Path
        The book's first page.

    Raises
    ------
    HematoVisionError
        Where the run is not finished or the book does not build.
    """
    from doit.tools import config_changed

    from hv_utils.chain import book

    run = Run.open(run_dir)
    for step in STEPS:
        run.need(f"notebooks/{step.name}.ipynb", made_by=step.name)
        for name in step.writes:
            run.need(name, made_by=step.name)
    page = book.OUTPUT / "html" / "index.html"
    task = {
        "name": "book",
        "title": lambda task: "the book",
        "file_dep": sorted({str(path) for path in book.inputs(run)}),
        "targets": [str(page)],
        "uptodate": [config_changed(str(run.folder)), not force],
        "action": lambda: book.build(run),
    }
    with locked(run):
        book.OUTPUT.mkdir(parents=True, exist_ok=True)
        execute([task], state=book.OUTPUT / STATE, echo=echo)
    return page
