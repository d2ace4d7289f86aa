"""A kit for a room without a network: all that a machine needs, and how to install it."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hv_utils.chain.doctor import declared
from hv_utils.classroom.open_pages import write_open_pages
from hv_utils.classroom.wheels import Pin, Target, fetch, needed, read_lock
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import files_below, fingerprint, write_text
from hv_utils.ground.runs import BELOW, PATH_COLUMNS, PROJECT_ROOT, Run

MACHINE = "machine"
SUMS = "SHA256SUMS"
PACKAGE = ("hv_utils", "results", "scripts/install.py", "pyproject.toml", "LICENSE")
SCRIPTS = "scripts/room"
# Of a run a class has what its notebooks read, and not what they show.
NOT_FOR_A_CLASS = ("notebooks", "figures", ".*", "*.lock")
NOT_INSTALLED = ("__pycache__", "*.pyc", "weights")
DIES = re.compile(r"(?ms)^### When a notebook dies\n(.*?)(?=^##)")
INSTALLED_GB = 3.3  # of the environment, measured on Linux
FOR_A_LEARNER = """# HematoVision on this machine

1. Once: `sh install.sh`, or on Windows a double click on `install.cmd`. No network is needed.
2. For each lesson: `sh start.sh`, or `start.cmd`, opens the notebooks in JupyterLab.
3. `book/index.html`, in a browser, has the pages of the lessons with their quizzes. They show no
   result. Place your bets before you run a cell.

The exercises on paper are `paper/paper.html`.

## When a notebook dies

{dies}

Nothing here is for diagnosis.
"""
FOR_THE_ROOM = """# A room without a network

For whoever sets up the machines. Made for {targets}.

| Folder | For | Size |
| --- | --- | --- |
| `machine` | every machine, the teacher's too | {machine_gb:.1f} GB |
| `student` | the notebooks by themselves, and the sheets to print | {student_mb:.0f} MB |
| `teacher` | the teacher alone: solutions, keys, the whole book | {teacher_mb:.0f} MB |

## Before the day

1. Look at one machine: it needs Python {pythons} ({systems}), {space_gb:.1f} GB of free space and
   4 GB of memory. Python itself is not in the kit. On Windows TensorFlow also wants Microsoft's
   *Visual C++ Redistributable*.
2. Copy `machine` onto a stick or a share, and from there to each machine, into a folder that the
   learner may write in. On Windows take a short path, such as `C:\\hv`: some names in it are long.
   A machine cannot run it from the share: each needs its own copy.
3. On each machine, in its copy: `sh install.sh`, or on Windows a double click on `install.cmd`.
   It checks the wheels against `SHA256SUMS`, installs them into `.venv`, changes nothing else, and
   ends with `hv doctor`. Given again, it goes on where it stopped.
4. Print `student/paper/paper.html` from the folder `student`, once a learner.
5. On the teacher's machine put the folder `teacher` into the copy of `machine`, beside
   `notebooks`. `teacher/book/index.html` is the whole book, results and solutions included.

To check a copy in full, on Linux `sha256sum --quiet -c {sums}`, on macOS `shasum -a 256 -c {sums}`,
in the folder.

The finished run `runs/demo` is in the kit, without its executed notebooks and figures. To make it
anew on a machine: `.venv/bin/hv run --profile demo --run demo`; `hv doctor` says how long it takes.

The scripts for Windows and macOS were written with care, and nobody here could try them. Try one
machine a week before.

Nothing here is for diagnosis.
"""


class Room:
    """What a room gets beside the kits of `hv course`.

    Parameters
    ----------
    run : Run
        Finished: the machines get its data and artefacts.
    html : Path
        The book that was built from it.
    targets : sequence of Target
        Systems with their Pythons.
    project : Path
        Folder of the project.
    echo : callable
        Takes lines about the progress.
    """

    def __init__(
        self,
        run: Run,
        html: Path,
        targets: Sequence[Target],
        *,
        project: Path = PROJECT_ROOT,
        echo: Callable[[str], None] = print,
    ) -> None:
        self.run, self.html, self.targets = run, html, tuple(dict.fromkeys(targets))
        self.project, self.echo = project, echo
        pins = read_lock(project / "requirements.lock")
        self.pins: list[Pin] = needed(pins, declared(project).packages)
        self.wheels: dict[str, Path] = {}

    def fetch(self) -> None:
        """Download the wheels into `build/wheels`; what is there already is kept.

        Raises
        ------
        HematoVisionError
            Where one cannot be had.
        """
        for target in self.targets:
            folder = self.project / "build" / "wheels" / str(target)
            found = fetch(self.pins, target, folder, self.echo)
            self.wheels |= {path.name: path for path in found}

    def write(self, kits: Path) -> None:
        """Complete a folder that holds `student` and `teacher`.

        Parameters
        ----------
        kits : Path
            The folder; `machine`, the teacher's book, a README and checksums are written.

        Raises
        ------
        HematoVisionError
            Where the disk has too little room, or the book shows what it should not.
        """
        self._need_space(kits)
        machine = kits / MACHINE
        self.echo(f"copying {len(self.wheels)} wheels, the run and the book")
        _copy_wheels(self.wheels, machine / "wheels")
        write_text(machine / "wheels" / "made-for.txt", "".join(f"{t}\n" for t in self.targets))
        write_text(machine / "requirements.lock", "".join(pin.lines for pin in self.pins))
        for name in PACKAGE:
            _copy(self.project / name, machine / name, NOT_INSTALLED)
        for name in ("notebooks", "paper"):
            _copy(kits / "student" / name, machine / name)
        _copy(self.project / "notebooks" / "profiles", machine / "notebooks" / "profiles")
        _copy_run(self.run, machine / "runs" / "demo")
        write_open_pages(self.html, machine / "book")
        _copy(self.html, kits / "teacher" / "book")
        for path in sorted((self.project / SCRIPTS).iterdir()):
            _write_script(path, machine / path.name, self.targets)
        write_text(machine / "README.md", FOR_A_LEARNER.format(dies=_when_one_dies(self.project)))
        self.echo("taking the checksums")
        for name in (MACHINE, "student", "teacher"):
            _write_sums(kits / name)
        write_text(kits / "README.md", self._read_me(kits))

    def _need_space(self, kits: Path) -> None:
        size = sum(path.stat().st_size for path in self.wheels.values())
        size += 2 * _size(self.html) + _size(self.run.folder)
        free = shutil.disk_usage(kits).free
        if free < size:
            raise HematoVisionError(
                f"expected {size / 1e9:.1f} GB of free space for the kit, but there are "
                f"{free / 1e9:.1f}: make room, or write it elsewhere; the wheels in "
                f"{self.project / 'build' / 'wheels'} are kept"
            )

    def _read_me(self, kits: Path) -> str:
        machine = _size(kits / MACHINE)
        return FOR_THE_ROOM.format(
            targets=", ".join(map(str, self.targets)),
            pythons=" or ".join(sorted({one.python for one in self.targets})),
            systems=", ".join(dict.fromkeys(one.system for one in self.targets)),
            machine_gb=machine / 1e9,
            student_mb=_size(kits / "student") / 1e6,
            teacher_mb=_size(kits / "teacher") / 1e6,
            space_gb=machine / 1e9 + INSTALLED_GB,
            sums=SUMS,
        )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_below(folder, ordered=False))


def _copy(source: Path, target: Path, left_out: Sequence[str] = ()) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignore = shutil.ignore_patterns(*left_out)
        shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _copy_wheels(wheels: dict[str, Path], folder: Path) -> None:
    """Copy the wheels, or let the same file have a second name where the disk is the same."""
    folder.mkdir(parents=True)
    for name, path in sorted(wheels.items()):
        try:
            os.link(path, folder / name)
        except OSError:
            shutil.copyfile(path, folder / name)


def _copy_run(run: Run, folder: Path) -> None:
    """Copy what notebooks read of a run, with paths that hold wherever the copy lies."""
    _copy(run.folder, folder, NOT_FOR_A_CLASS)
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file)
        at = [header.index(name) for name in PATH_COLUMNS if name in header]
        if not at:
            continue
        for row in rows:
            for place in at:
                given = Path(row[place])
                if row[place] and given.is_relative_to(run.folder):
                    row[place] = BELOW + given.relative_to(run.folder).as_posix()
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _when_one_dies(project: Path) -> str:
    found = DIES.search((project / "book" / "lesson-plan.md").read_text(encoding="utf-8"))
    return found[1].strip() if found else ""


def _write_script(path: Path, target: Path, targets: Sequence[Target]) -> None:
    """Write a script that knows for which Pythons the kit is, with the line ends of its system."""
    windows = path.suffix == ".cmd"
    pythons = sorted({one.python for one in targets if (one.system == "windows") == windows})
    every = sorted({one.python for one in targets})
    text = path.read_text(encoding="utf-8").replace("@PYTHONS@", " ".join(pythons or every))
    target.write_bytes((text.replace("\n", "\r\n") if windows else text).encode())
    target.chmod(0o755)


def _write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file, as `sha256sum -c` reads it."""
    names = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
    write_text(folder / SUMS, "".join(f"{fingerprint(folder / n)}  {n}\n" for n in names))
