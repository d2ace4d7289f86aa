"""Install what the project needs into .venv, once: `python scripts/install.py`.

Plain Python, so that the Makefile and make.cmd share it. Nothing is done where the environment is
newer than the files that say what is in it. In a kit for a room, which holds wheels, no network is
asked: see hv_utils/classroom/machines.py.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
READY = VENV / ".ready"
DECLARED = (ROOT / "requirements.lock", ROOT / "pyproject.toml")
PYTHONS = ((3, 11), (3, 13))
WHEELS = ROOT / "wheels"  # of a kit
MADE_FOR = WHEELS / "made-for.txt"  # such as linux-3.12, one a line
SUMS = ROOT / "SHA256SUMS"
NEEDED_GB = 3.4
# JupyterLab's own: whether to look on the network for news and newer versions.
SETTINGS = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
NO_NEWS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}
SYSTEMS = {"linux": "linux", "win32": "windows", "darwin": "macos"}


def program(name: str, *, windows: bool = sys.platform == "win32") -> Path:
    """Return the path of a program of the environment."""
    return VENV / "Scripts" / f"{name}.exe" if windows else VENV / "bin" / name


def is_ready() -> bool:
    """Return whether the environment is newer than what declares it."""
    if not READY.is_file() or not program("python").exists():
        return False
    made = READY.stat().st_mtime
    return all(path.stat().st_mtime <= made for path in DECLARED)


def wrong_python(version: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return why a Python cannot be used, or an empty text."""
    low, high = (".".join(map(str, bound)) for bound in PYTHONS)
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return ""
    return (
        f"install: expected Python {low} to {high}, but {sys.executable} is "
        f"{version[0]}.{version[1]}: name another, with `make PYTHON=python3.12` or, on Windows, "
        "`set PYTHON=py -3.12`"
    )


def wrong_kit(version: tuple[int, int] = sys.version_info[:2], system: str = sys.platform) -> str:
    """Return why the wheels of a kit cannot be used here, or an empty text."""
    here = f"{SYSTEMS.get(system, system)}-{version[0]}.{version[1]}"
    made_for = MADE_FOR.read_text(encoding="utf-8").split() if MADE_FOR.is_file() else [here]
    if here in made_for:
        return ""
    pythons = ", ".join(one.rpartition("-")[2] for one in made_for if one.startswith(here[:5]))
    do = f"install Python {pythons}" if pythons else "ask for a kit for this system"
    return (
        f"install: expected what this kit is made for, {', '.join(made_for)}, but this is {here} "
        f"({platform.machine()}, {sys.executable}): {do}"
    )


def no_room() -> str:
    """Return why there is no room here, or an empty text."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free >= NEEDED_GB:
        return ""
    return (
        f"install: expected {NEEDED_GB:g} GB free in {ROOT}, but there are {free:.1f}: make room, "
        "or move the folder"
    )


def damaged() -> str:
    """Return which files of a kit have not arrived as they were, or an empty text."""
    wrong = []
    for line in SUMS.read_text(encoding="utf-8").splitlines() if SUMS.is_file() else ():
        wanted, _, name = line.partition("  ")
        path = ROOT / name
        if name.startswith("wheels/") and (not path.is_file() or sha256(path) != wanted):
            wrong.append(name)
    if not wrong:
        return ""
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return (
        f"install: expected the kit as it was made, but {', '.join(wrong[:3])}{more} "
        f"{'is' if len(wrong) == 1 else 'are'} missing or damaged: copy the folder again"
    )


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Install; return the exit status."""
    if is_ready():
        return 0
    if reason := wrong_python() or wrong_kit() or no_room() or damaged():
        print(reason, file=sys.stderr)
        return 1
    print(f"installing what is missing into {VENV.name} (once; one to five minutes)", flush=True)
    pip = [str(program("python")), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if MADE_FOR.is_file():
        pip += ["--no-index", "--find-links", str(WHEELS)]
    for command in (
        [sys.executable, "-m", "venv", str(VENV)],
        [*pip, "-r", str(DECLARED[0])],
        [*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ):
        if status := subprocess.run(command, check=False).returncode:
            print(
                f"install: expected `{' '.join(command[1:3])} …` to succeed, but it ended with "
                f"{status}: its own words stand above; no network, or a full disk?",
                file=sys.stderr,
            )
            return 1
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(json.dumps(NO_NEWS), encoding="utf-8")
    READY.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
