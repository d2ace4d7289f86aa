"""Install what the project needs into .venv, once: `python scripts/install.py`.

Plain Python, so that the Makefile and make.cmd share it. Nothing is done where the environment is
newer than the files that say what is in it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
READY = VENV / ".ready"
DECLARED = (ROOT / "requirements.lock", ROOT / "pyproject.toml")
PYTHONS = ((3, 11), (3, 13))


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


def main() -> int:
    """Install; return the exit status."""
    if is_ready():
        return 0
    if reason := wrong_python():
        print(reason, file=sys.stderr)
        return 1
    print(f"installing what is missing into {VENV.name} (once; one to five minutes)", flush=True)
    pip = [str(program("python")), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
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
    READY.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
