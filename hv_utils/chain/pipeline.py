"""The chain: which notebooks of a run are not up to date, and those carried out."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hv_utils.chain import parameters
from hv_utils.chain.steps import STEPS, Step, files_beside, find_step, used_modules
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import files_below, fingerprint, matches, renewed_json
from hv_utils.ground.locks import locked
from hv_utils.ground.runs import Run, environment


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
    per_notebook = parameters.validate(
        parameters.read_profile(profile), overrides or {}, [step.notebook for step in steps]
    )
    first = steps.index(find_step(from_step, steps)) if from_step else len(steps)
    first = 0 if force else first
    last = steps.index(find_step(until_step, steps)) + 1 if until_step else len(steps)
    run = Run.open(run_dir)
    with locked(run.folder, alone=True):
        kept = [*steps[:first], *steps[last:]]
        _refuse_other_parameters(run, profile, {step: per_notebook[step.notebook] for step in kept})
        forget(run, steps[first:last])
        values = {name: value for own in per_notebook.values() for name, value in own.items()}
        _write_parameters(run, profile, values)
        about = {"profile": profile, "command": _command(), "seed": values.get("seed", 0)}
        for index, step in enumerate(steps[:last]):
            heading = f"[{index + 1}/{last}] {step.name}"
            carry_out(step, run, per_notebook[step.notebook], about, heading=heading, echo=echo)
    return run


def _command() -> str:
    """Return what the user typed, whether `hv` or `python -m hv_utils.cli`."""
    program = Path(sys.argv[0]).name
    return shlex.join(["hv" if program == "cli.py" else program, *sys.argv[1:]])


def _refuse_other_parameters(
    run: Run, profile: str, kept: Mapping[Step, Mapping[str, Any]]
) -> None:
    """Refuse a folder whose steps that would be kept were made with other parameters."""
    had, records, missing = run.manifest.get("profile"), finished(run), object()
    for step, values in kept.items():
        old = records.get(step.name, {}).get("parameters", values)
        names = sorted({*old, *values})
        clash = [name for name in names if old.get(name, missing) != values.get(name, missing)]
        if clash:
            was = ", ".join(f"{name}={old.get(name, 'its default')}" for name in clash)
            now = ", ".join(f"{name}={values.get(name, 'its default')}" for name in clash)
            raise HematoVisionError(
                f"expected {run.folder} to have been made with {now} (profile {profile}), but it "
                f"was made with {was} (profile {had}): choose another --run, "
                "or start it over with --force"
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
    echo : callable
        Takes the line of a step that is up to date.

    Raises
    ------
    HematoVisionError
        Where the notebook fails.
    """
    digest = made_from(step, run, values)
    outputs = [run.path("notebooks") / step.notebook.name, *map(run.path, step.writes)]
    record = finished(run).get(step.name, {})
    if record.get("made_from") == digest and all(path.exists() for path in outputs):
        echo(f"{heading}: up to date")
        return
    from hv_utils.chain.execution import run_notebook

    forget(run, [step])
    facts, started = environment(), time.perf_counter()
    run_notebook(step, run, values, heading=heading)
    seconds = round(time.perf_counter() - started, 1)
    record = {"command": about["command"], **facts, "parameters": values, "made_from": digest}
    run.record(**about, **facts, seconds={step.name: seconds}, steps={step.name: record})


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
    named = [values.get(name) for name in ("archive", "folder", "groups", "images")]
    found = [path for given in filter(None, named) for path in matches(given)]
    below = [path for folder in found if folder.is_dir() for path in files_below(folder)]
    facts = {path: path.stat() for path in (*found, *below) if path.is_file()}
    return sorted((str(path), one.st_size, one.st_mtime_ns) for path, one in facts.items())
