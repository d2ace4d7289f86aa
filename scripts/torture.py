"""Kill the chain with -9 at random moments, many times over, and see that nothing is lost.

The chain runs undisturbed once. Then the same command is started again and again in another run
folder and killed, in turn alone and with its kernels, until it has run to its end as often as it
takes to use up the kills. At the end every artefact must be there, no finished step may have run
twice, and the results must be those of the undisturbed run.

Usage: python scripts/torture.py --kills 20 --seed 0 [--profile smoke] [--into FOLDER]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

COMMAND = (sys.executable, "-m", "hv_utils.cli", "run")
COMPARED = ("metrics.json", "predictions.csv", "predictions-val.csv", "images.csv")


def torture(
    command: Sequence[str], folder: Path, *, kills: int, seed: int, compared: Sequence[str]
) -> dict:
    """Run a chain undisturbed and then disturbed.

    Parameters
    ----------
    command : sequence of str
        Runs the chain in the run folder that is put behind it.
    folder : Path
        Takes the run folders: `undisturbed`, and `killed-0` and so on for the disturbed ones.
    kills : int
    seed : int
        Draws the moments.
    compared : sequence of str
        Artefacts whose content must be the same.

    Returns
    -------
    dict
        `kills`, `with_kernels` (how many of them took the kernels along), `rounds` (runs to the
        end), `hit` (kills in each step), `seconds` (one undisturbed run), and what must be empty:
        `ran_twice`, `missing`, `different`, `leftovers`.
    """
    started = time.monotonic()
    undisturbed = folder / "undisturbed"
    subprocess.run([*command, str(undisturbed)], check=True)
    report = {"kills": 0, "with_kernels": 0, "rounds": 0, "seconds": time.monotonic() - started}
    report |= {"hit": Counter(), "ran_twice": [], "missing": [], "different": [], "leftovers": []}
    moments = random.Random(seed)
    longest = max(json.loads((undisturbed / "manifest.json").read_text())["seconds"].values())
    while report["kills"] < kills:
        run = folder / f"killed-{report['rounds']}"
        _until_finished([*command, str(run)], run, report, kills, moments, 1.5 * longest + 5)
        report["rounds"] += 1
        _compare(undisturbed, run, compared, report)
    return report


def _until_finished(
    command: Sequence[str], run: Path, report: dict, kills: int, moments: random.Random, most: float
) -> None:
    """Start a chain until it has come to its end, killing it up to `most` seconds after a start."""
    known: dict[str, tuple] = {}
    while True:
        process = psutil.Popen(command)
        try:
            left = report["kills"] < kills
            code = process.wait(moments.uniform(0, most) if left else None)
        except psutil.TimeoutExpired:
            kernels = process.children(recursive=True) if report["kills"] % 2 else []
            for one in (process, *kernels):
                one.kill()
            process.wait()
            report["kills"] += 1
            report["with_kernels"] += bool(kernels)
            code = None
        now = _finished(run)
        report["ran_twice"] += [name for name, made in known.items() if now.get(name) != made]
        known = now
        if code is None:
            report["hit"][f"after {len(now)} steps"] += 1
        elif code:
            raise SystemExit(f"the chain failed with status {code}")
        else:
            return


def _finished(run: Path) -> dict[str, tuple]:
    """Return each finished step with what would change if it ran once more."""
    path = run / "manifest.json"
    records = json.loads(path.read_text()).get("steps", {}) if path.exists() else {}
    notebooks = {
        name: run / "notebooks" / f"{name}.ipynb" for name, made in records.items() if made
    }
    return {
        name: (notebook.stat().st_mtime_ns, json.dumps(records[name]))
        for name, notebook in notebooks.items()
    }


def _compare(undisturbed: Path, run: Path, compared: Sequence[str], report: dict) -> None:
    def files(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}

    report["missing"] += sorted(
        name for name in files(undisturbed) - files(run) if not Path(name).name.startswith(".")
    )
    report["leftovers"] += sorted(name for name in files(run) if ".part" in name)
    for name in compared:
        texts = [(f / name).read_text().replace(str(f), "") for f in (undisturbed, run)]
        if texts[0] != texts[1]:
            report["different"].append(f"{run.name}/{name}")


def main() -> int:
    """Print the figures; 1 where something was lost."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--profile", default="smoke")
    options.add_argument("--into", type=Path, help="keep the run folders there")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.into or Path(scratch)).absolute()
        command = [*COMMAND, "--profile", given.profile, "--run"]
        report = torture(command, folder, kills=given.kills, seed=given.seed, compared=COMPARED)
    print(json.dumps(report, indent=2))
    return int(any(report[name] for name in ("ran_twice", "missing", "different", "leftovers")))


if __name__ == "__main__":
    sys.exit(main())
