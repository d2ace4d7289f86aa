"""The chain: which notebooks of a run are not up to date, and those carried out."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hv_utils.chain import parameters
from hv_utils.chain.schedule import run_steps
from hv_utils.chain.steps import STEPS, Step, files_beside, find_step, used_modules
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores, files_below, fingerprint, matches, renewed_json
from hv_utils.ground.locks import locked
from hv_utils.ground.progress import bars
from hv_utils.ground.runs import Run, environment

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

JOBS = min(2, cores())  # more at once would want more memory than a small machine has


def run_chain(
    profile: str,
    *,
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    from_step: str | None = None,
    until_step: str | None = None,
    force: bool = False,
    jobs: int = JOBS,
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
    jobs : int
        Steps that run at once, at most.
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
    asked = {**parameters.read_profile(profile), **(overrides or {})}
    per_notebook = parameters.validate(asked, [step.notebook for step in steps])
    own = {step: per_notebook[step.notebook] for step in steps}
    values = {name: value for part in own.values() for name, value in part.items()}
    first = steps.index(find_step(from_step, steps)) if from_step else len(steps)
    first = 0 if force else first
    last = steps.index(find_step(until_step, steps)) + 1 if until_step else len(steps)
    forced = steps[first:last]
    about = {"profile": profile, "command": _command(), "seed": values.get("seed", 0)}
    run = Run.open(run_dir)
    with locked(run.folder, alone=True):
        had = finished(run)
        others = [s for s in steps if s.name in had and had[s.name].get("parameters") != own[s]]
        for step in others:
            if step not in forced:
                raise _other_parameters(
                    run, profile, had[step.name].get("parameters", {}), own[step]
                )
        forget(run, others)  # or the next command, without --force, would be refused
        _write_parameters(run, profile, values)
        with bars("cell") as shown:

            def one(step: Step) -> None:
                heading = f"[{steps.index(step) + 1}/{last}] {step.name}"
                options = {"heading": heading, "forced": step in forced, "of": last, "echo": echo}
                carry_out(step, run, own[step], about, shown=shown, **options)

            run_steps(steps[:last], one, jobs=jobs, stop=_kill_kernels, echo=echo)
    return run


def _kill_kernels() -> None:
    from hv_utils.chain.kernel import kill_kernels

    kill_kernels()


def _command() -> str:
    """Return what the user typed, whether `hv` or `python -m hv_utils.cli`."""
    program = Path(sys.argv[0]).name
    return shlex.join(["hv" if program == "cli.py" else program, *sys.argv[1:]])


def _other_parameters(
    run: Run, profile: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> HematoVisionError:
    missing = object()
    names = sorted(n for n in {*old, *new} if old.get(n, missing) != new.get(n, missing))
    was = ", ".join(f"{name}={old.get(name, 'its default')}" for name in names)
    now = ", ".join(f"{name}={new.get(name, 'its default')}" for name in names)
    return HematoVisionError(
        f"expected {run.folder} to have been made with {now} (profile {profile}), but it was made "
        f"with {was} (profile {run.manifest.get('profile')}): choose another --run, or start it "
        "over with --force"
    )


def _write_parameters(run: Run, profile: str, values: Mapping[str, Any]) -> None:
    asked = {"profile": profile, "parameters": values}
    path = run.path("params.json")
    if not path.exists() or renewed_json(path) != asked:
        run.write_json("params.json", asked)


def finished(run: Run) -> dict[str, dict[str, Any]]:
    """Return what the manifest tells of each step that has run to its end, by the step's name."""
    records = run.manifest.get("steps", {})
    return {name: record for name, record in records.items() if record}


def forget(run: Run, steps: Sequence[Step]) -> None:
    """Take steps for unfinished from now on."""
    known = finished(run)
    if any(step.name in known for step in steps):
        run.record(steps={step.name: None for step in steps})


def carry_out(
    step: Step,
    run: Run,
    values: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    heading: str,
    shown: Progress,
    forced: bool = False,
    of: int = 1,
    echo: Callable[[str], None] = print,
) -> None:
    """Run one step, unless it is up to date, and record how it was made.

    The record in the manifest is what makes a step finished: it is taken back before the step runs
    and written whole when it has ended, so a killed chain knows all steps but the one it was at.

    Parameters
    ----------
    step : Step
    run : Run
        Held by this process; the steps whose artefacts this one reads are finished.
    values : mapping
        The step's parameters.
    about : mapping
        What else to record.
    heading : str
        Names the step in lines and bars.
    shown : Progress
        Gets a bar while the step runs.
    forced : bool
        Run it in any case.
    of : int
        Steps that this process may run: many share what their kernels import.
    echo : callable
        Takes the lines of the step.

    Raises
    ------
    HematoVisionError
        Where the notebook fails.
    """
    digest = made_from(step, run, values)
    outputs = [run.path("notebooks") / step.notebook.name, *map(run.path, step.writes)]
    before = finished(run).get(step.name, {}).get("made_from")
    if before == digest and not forced and all(path.exists() for path in outputs):
        echo(f"{heading}: up to date")
        return
    from hv_utils.chain.execution import run_notebook
    from hv_utils.chain.kernel import kernel_for

    forget(run, [step])
    facts, started = environment(), time.perf_counter()
    bar = shown.add_task(heading, total=None)
    try:
        on_cell = partial(_show, shown, bar)
        run_notebook(step, run, values, kernel=kernel_for(of), on_cell=on_cell, echo=echo)
    finally:
        shown.remove_task(bar)
    seconds = round(time.perf_counter() - started, 1)
    record = {"command": about["command"], **facts, "parameters": values, "made_from": digest}
    run.record(**about, **facts, seconds={step.name: seconds}, steps={step.name: record})
    echo(f"{heading}: {seconds:.0f} s")


def _show(shown: Progress, bar: TaskID, number: int, total: int) -> None:
    shown.update(bar, completed=number, total=total)


def made_from(step: Step, run: Run, values: Mapping[str, Any]) -> str:
    """Return a digest of all that a step's artefacts follow from.

    Its notebook, the modules that this one uses, its parameters, the artefacts, results and weights
    that it reads, and the files that its parameters name.
    """
    settings = [str(run.folder), values, listed(values)]
    inputs = [step.notebook, *used_modules(step.notebook), *map(run.path, step.reads)]
    inputs += files_beside(step.notebook, values)
    contents = [(str(path), fingerprint(path)) for path in inputs if path.is_file()]
    text = json.dumps([settings, contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def listed(values: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """List the files in the folders and behind the patterns that parameters name.

    Returns
    -------
    list of tuple
        Path, bytes and time of change (ns) of each, sorted: it differs when one is added, replaced
        or taken away.
    """
    named = [values[name] for name in parameters.INPUTS if values.get(name)]
    single = [one for given in named for one in parameters.paths_in(given)]
    found = [path for one in single if one for path in matches(one)]
    below = [path for folder in found if folder.is_dir() for path in files_below(folder)]
    facts = {path: path.stat() for path in (*found, *below) if path.is_file()}
    return sorted((str(path), one.st_size, one.st_mtime_ns) for path, one in facts.items())
