"""Time `make book`, the same with nothing changed, and `make test` of two checkouts in turn.

    python scripts/time_commands.py OLD NEW [--turns 3] [--json build/commands.json]

Prints seconds and ratios, new to old. Both are installed first, which is not timed; the runs and
books that they hold are removed. Let nothing else run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment

READY = ".venv/.ready"
TIMED = {"book": "make book", "again": "make book, nothing changed", "test": "make test"}


def make(folder: Path, *targets: str) -> float:
    """Return the seconds that `make` takes in a checkout; its output is shown where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        ["make", "-C", str(folder), *targets], stdout=-1, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"make {' '.join(targets)} in {folder} failed:\n{done.stdout[-3000:]}")
    return time.perf_counter() - started


def one_turn(folder: Path) -> dict[str, float]:
    """Time each command once, from a state in which nothing but the environment is there."""
    make(folder, "clean")
    return {name: make(folder, name.replace("again", "book")) for name in TIMED}


def commit(folder: Path) -> str:
    """Return the commit of a checkout."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, stdout=-1, text=True, check=True).stdout.strip()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs=2, type=Path, metavar="OLD NEW")
    parser.add_argument("--turns", type=int, default=3, help="times that each command is run")
    parser.add_argument("--json", type=Path, help="write the figures there")
    asked = parser.parse_args()
    for folder in asked.checkouts:
        make(folder, READY)
    turns = [[one_turn(folder) for folder in asked.checkouts] for _ in range(asked.turns)]
    found = {}
    for name, title in TIMED.items():
        old, new = ([turn[side][name] for turn in turns] for side in (0, 1))
        found[title] = {"old": old, "new": new, "ratio": median(new) / median(old)}
        print(
            f"{title:28} old {median(old):6.1f} s  new {median(new):6.1f} s  "
            f"ratio {found[title]['ratio']:.2f}"
        )
    if asked.json:
        commits = dict(zip(("old", "new"), map(commit, asked.checkouts), strict=True))
        about = {"commits": commits, "machine": environment()["machine"]}
        write_text(asked.json, dump_json({**about, "seconds": found}))


if __name__ == "__main__":
    main()
