"""Chains side by side, one for each point of a grid of parameters.

    python -m hv_utils.chain.sweep

runs one of them, read from the standard input as JSON, and ends when that is closed: a chain does
not outlive the sweep or the worker that began it, however that ends.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from hv_utils.chain import parameters
from hv_utils.chain.steps import STEPS, find_step
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import PROJECT_ROOT
from hv_utils.ground.workers import Scheduler, Threads, done

JOINED = (*parameters.PATHS, "source")  # a comma in these joins; give -p again for another value
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
COMMA = re.compile(r",(?![^\[{]*[\]}])")  # outside of brackets
MOST_POINTS = 1000
PLAN = "sweep.json"
_chains: set[subprocess.Popen] = set()


@dataclass(frozen=True)
class Point:
    """One chain of a sweep.

    Attributes
    ----------
    name : str
        Of its run folder in that of the sweep.
    varied : mapping of str to str
        The parameters that differ between points, as they were written.
    profile, overrides, run_dir, until_step
        See `pipeline.run_chain`.
    """

    name: str
    varied: Mapping[str, str]
    profile: str
    overrides: Mapping[str, Any]
    run_dir: str
    until_step: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a point.

    Attributes
    ----------
    point : Point
    error : str
        In one line; "" where its chain is finished.
    seconds : float
        That its chain took now; next to nothing where it was finished before.
    metrics : mapping, optional
        Its `metrics.json`, where the chain went so far.
    """

    point: Point
    error: str
    seconds: float
    metrics: Mapping[str, Any] | None = None


def values_of(name: str, text: str) -> list[str]:
    """Return the values that a text stands for: `0..9`, `0.2,0.4`, `0..2,7`, `[1, 2],[3, 4]`.

    Raises
    ------
    HematoVisionError
        For a range that goes down or is longer than any sweep.
    """
    if name in JOINED:
        return [text]
    values = []
    for one in map(str.strip, COMMA.split(text)):
        if found := RANGE.fullmatch(one):
            first, last = map(int, found.groups())
            if not 0 <= last - first < MOST_POINTS:
                raise HematoVisionError(
                    f"expected a range that goes up and has at most {MOST_POINTS:,} values, but "
                    f"got -p {name} {one}: write it as 0..9"
                )
            values += map(str, range(first, last + 1))
        else:
            values.append(one)
    return values


def plan(
    profile: str,
    pairs: Iterable[tuple[str, str]],
    *,
    folder: str | Path,
    until_step: str | None = None,
) -> list[Point]:
    """Return the points of the grid that some parameters span.

    Parameters
    ----------
    profile : str
    pairs : iterable of tuple of str
        Parameter and values, see `values_of`; one that is named again has further values.
    folder : str or Path
        Of the sweep.
    until_step : str, optional

    Returns
    -------
    list of Point
        In the order of the values; the parameter named last changes fastest.

    Raises
    ------
    HematoVisionError
        For a parameter or a value that `hv run` would refuse, for one point alone, and for more
        than a thousand.
    """
    grid: dict[str, list[str]] = {}
    for name, text in pairs:
        grid[name] = list(dict.fromkeys([*grid.get(name, []), *values_of(name, text)]))
    size = 1
    for values in grid.values():
        size *= len(values)
    if not 1 < size <= MOST_POINTS:
        raise HematoVisionError(
            f"expected 2 to {MOST_POINTS:,} points, but these parameters make {size:,}: vary one, "
            "as in -p seed 0..4"
        )
    if until_step:
        find_step(until_step, STEPS)
    folder = PROJECT_ROOT / Path(folder).expanduser()
    varying = [name for name, values in grid.items() if len(values) > 1]
    points: dict[str, Point] = {}
    for values in product(*grid.values()):
        given = dict(zip(grid, values, strict=True))
        overrides = parameters.from_command_line(given.items())
        asked = {**parameters.read_profile(profile), **overrides}
        parameters.validate(asked, [step.notebook for step in STEPS])
        varied = {name: given[name] for name in varying}
        name = _folder_name(varied)
        while name in points:  # what differs in signs alone
            name += "-again"
        points[name] = Point(name, varied, profile, overrides, str(folder / name), until_step)
    return list(points.values())


def _folder_name(varied: Mapping[str, str]) -> str:
    text = "-".join(f"{name}-{Path(value).name}" for name, value in varied.items())
    return re.sub(r"[^\w.+-]+", "-", text)[:120].strip("-.")


def run_sweep(
    points: Sequence[Point],
    *,
    folder: str | Path,
    jobs: int,
    scheduler: str | None = None,
    echo: Callable[[str], None] = print,
) -> list[Outcome]:
    """Run the chain of each point, several side by side, and go on where one fails.

    What is up to date is skipped, as the chain does. A point that is stopped with this process, or
    with its worker, goes on when the same sweep is run again.

    Parameters
    ----------
    points : sequence of Point
    folder : str or Path
        Of the sweep; gets `sweep.json`, which tells what was asked for.
    jobs : int
        Chains at once; each carries out one step at a time.
    scheduler : str, optional
        Of Dask: its workers run the chains, on the same folder, one in each thread of theirs.
    echo : callable
        Takes a line when a step or a point has ended.

    Returns
    -------
    list of Outcome
        In the order of the points.

    Raises
    ------
    HematoVisionError
        Where the folder cannot be written, or the workers are lost.
    """
    folder = PROJECT_ROOT / Path(folder).expanduser()
    write_text(folder / PLAN, dump_json({"points": [asdict(point) for point in points]}))
    found: dict[str, Outcome] = {}
    with _hands(scheduler, jobs) as hands:
        function = run_point if scheduler else partial(run_point, echo=echo)
        for _, outcome in done(hands, function, ((point,) for point in points)):
            found[outcome.point.name] = outcome
            end = f"failed: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
            echo(f"({len(found)}/{len(points)}) {outcome.point.name}: {end}")
    return [found[point.name] for point in points]


@contextmanager
def _hands(scheduler: str | None, jobs: int) -> Iterator[Threads | Scheduler]:
    hands = Scheduler(scheduler) if scheduler else Threads(jobs)
    try:
        yield hands
    except BaseException:
        for chain in list(_chains):
            chain.kill()
        hands.close(at_once=True)
        raise
    hands.close(at_once=False)


def run_point(point: Point, *, echo: Callable[[str], None] | None = None) -> Outcome:
    """Run the chain of a point in a process of its own.

    Parameters
    ----------
    point : Point
    echo : callable, optional
        Takes the chain's lines on its steps, behind the point's name.

    Raises
    ------
    HematoVisionError
        Where this machine does not see the folder of the sweep.
    """
    folder = Path(point.run_dir)
    if not (folder.parent / PLAN).exists():
        raise HematoVisionError(
            f"expected the workers to see {folder.parent}, but one does not: share the folder of "
            "the project with them, at the same path"
        )
    start = time.perf_counter()
    command = [sys.executable, "-m", "hv_utils.chain.sweep"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    chain = subprocess.Popen(command, **pipes, text=True, encoding="utf-8", errors="replace")
    _chains.add(chain)
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(chain.stderr), daemon=True)
    reader.start()
    try:
        chain.stdin.write(json.dumps(asdict(point)) + "\n")
        chain.stdin.flush()
        for line in chain.stdout:
            if echo and line.startswith("["):  # on a step, not from a notebook
                echo(f"{point.name}: {line.rstrip()}")
        code = chain.wait()
    finally:
        chain.kill()
        _chains.discard(chain)
    reader.join()
    told = [line.strip() for line in errors if line.strip()]
    error = (told or [f"its process ended with {code}"])[-1] if code else ""
    metrics = None
    with suppress(OSError, ValueError):
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Outcome(point, error, time.perf_counter() - start, None if error else metrics)


def main() -> None:
    """Run the chain of the point on the standard input."""
    from hv_utils.chain.pipeline import run_chain

    point = Point(**json.loads(sys.stdin.readline()))
    sys.argv = ["hv", "run", "--profile", point.profile]  # what would make this run alone
    sys.argv += ["--run", os.path.relpath(point.run_dir, PROJECT_ROOT)]
    sys.argv += ["--until", point.until_step] if point.until_step else []
    sys.argv += [word for item in point.overrides.items() for word in ("-p", *map(str, item))]

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)  # the kernels notice, and end too

    threading.Thread(target=watch, daemon=True).start()
    try:
        run_chain(
            point.profile,
            run_dir=point.run_dir,
            overrides=point.overrides,
            until_step=point.until_step,
            jobs=1,
            echo=partial(print, flush=True),
        )
    except HematoVisionError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
