"""The wheels of a kit: what of the lock the lessons need, downloaded for a system and a Python."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import fingerprint

PIN = re.compile(r"(?m)^([\w.-]+)==([^\s;]+)(?: ; ([^\\\n]+))? \\\n((?:[ ].*\n?)+)")
VIA = re.compile(r"(?m)^ +#(?: via)? +([\w.-]+)")
HASH = re.compile(r"--hash=sha256:(\w+)")
BATCH = 8  # packages of one call of pip: what is there after a stop is kept
# Per system: the machine, what markers ask for, and pip's names of platforms, all of them, as pip
# takes them as they are.
GLIBC = ("2014", *(f"_2_{minor}" for minor in (17, 24, 26, 27, 28)))
SYSTEMS = {
    "linux": ("x86_64", "posix", "linux", [f"manylinux{of}_x86_64" for of in GLIBC]),
    "windows": ("AMD64", "nt", "win32", ["win_amd64"]),
    "macos": ("arm64", "posix", "darwin", [f"macosx_{major}_0_arm64" for major in range(11, 15)]),
}
PYTHONS = ("3.11", "3.12", "3.13")
PATCHES = ("0", "99")  # of a Python: some pins are for early ones, some for later ones


@dataclass(frozen=True)
class Pin:
    """A package of the lock.

    Attributes
    ----------
    name, version : str
    marker : str
        Where it is needed, such as `sys_platform == 'win32'`; empty for everywhere.
    hashes : tuple of str
        SHA-256 of the files that may be installed.
    wanted_by : tuple of str
        The packages that need it.
    lines : str
        As they stand in the lock.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]
    lines: str


@dataclass(frozen=True)
class Target:
    """A system and a version of Python that wheels are for, such as `windows-3.12`."""

    system: str
    python: str

    def __str__(self) -> str:
        return f"{self.system}-{self.python}"

    @classmethod
    def named(cls, name: str) -> Target:
        """Read a name.

        Raises
        ------
        HematoVisionError
            Where there are no wheels for it.
        """
        system, _, python = name.partition("-")
        if system not in SYSTEMS or python not in PYTHONS:
            raise HematoVisionError(
                f"expected a system and its Python, {', '.join(SYSTEMS)} with "
                f"{', '.join(PYTHONS)}, but got {name!r}: say it as linux-3.12"
            )
        return cls(system, python)

    @classmethod
    def here(cls) -> Target:
        """Return this machine's.

        Raises
        ------
        HematoVisionError
            Where kits are not made for machines like this one.
        """
        for system, (machine, _, word, _) in SYSTEMS.items():
            if sys.platform == word and platform.machine() == machine:
                return cls.named(f"{system}-{sys.version_info[0]}.{sys.version_info[1]}")
        known = ", ".join(f"{name} ({facts[0]})" for name, facts in SYSTEMS.items())
        raise HematoVisionError(
            f"expected a machine that kits are made for, {known}, but this is "
            f"{sys.platform} ({platform.machine()}): name the room's with --for, as linux-3.12"
        )

    def wants(self, pin: Pin, patch: str) -> bool:
        """Tell whether a machine of this kind needs a package, where Python has this patch."""
        from packaging.markers import Marker

        machine, os_name, sys_platform, _ = SYSTEMS[self.system]
        facts = {
            "os_name": os_name,
            "sys_platform": sys_platform,
            "platform_machine": machine,
            "platform_system": {"macos": "Darwin"}.get(self.system, self.system.capitalize()),
            "python_version": self.python,
            "python_full_version": f"{self.python}.{patch}",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        return not pin.marker or Marker(pin.marker).evaluate(facts)


def read_lock(lock: Path) -> list[Pin]:
    """Return the packages of a lock that `make lock` has written.

    Raises
    ------
    HematoVisionError
        Where there is none, or it holds none.
    """
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    pins = [
        Pin(
            found[1],
            found[2],
            (found[3] or "").strip(),
            tuple(HASH.findall(found[4])),
            tuple(name for name in VIA.findall(found[4]) if name != "via"),
            found[0].rstrip() + "\n",
        )
        for found in PIN.finditer(text)
    ]
    if not pins:
        raise HematoVisionError(
            f"expected pinned packages with their hashes in {lock}, but there are none: work in a "
            "clone of the project, and renew it with `make lock`"
        )
    return pins


def needed(pins: Sequence[Pin], packages: Sequence[str]) -> list[Pin]:
    """Return those pins that some packages need, directly or through others.

    Parameters
    ----------
    pins : sequence of Pin
    packages : sequence of str
        Requirements of the project, such as `numpy>=2.0`.

    Returns
    -------
    list of Pin
        In the order of the lock.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    inside = {canonicalize_name(Requirement(line).name) for line in packages}
    while True:
        more = {
            pin.name
            for pin in pins
            if pin.name not in inside and inside.intersection(pin.wanted_by)
        }
        if not more:
            return [pin for pin in pins if pin.name in inside]
        inside |= more


def fetch(
    pins: Sequence[Pin], target: Target, folder: Path, echo: Callable[[str], None] = print
) -> list[Path]:
    """Download the wheels of pins with pip, and check them against the lock.

    What lies in the folder already and has the right hash is kept, so that the same call goes on
    after a stop.

    Parameters
    ----------
    pins : sequence of Pin
    target : Target
    folder : Path
        Made where missing.
    echo : callable
        Takes a line now and then.

    Returns
    -------
    list of Path
        One wheel a package, in the order of the pins.

    Raises
    ------
    HematoVisionError
        Where pip fails: no network, no wheel of a package for that system, a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = []
    for patch in PATCHES:  # apart, since pip takes one version of a package at a time
        of_patch = [pin for pin in pins if target.wants(pin, patch)]
        wanted += [pin for pin in of_patch if pin not in wanted]
        there = _by_hash(folder)
        absent = [pin for pin in of_patch if not there.keys() & {*pin.hashes}]
        for start in range(0, len(absent), BATCH):
            batch = absent[start : start + BATCH]
            done = len(of_patch) - len(absent) + start
            echo(f"wheels for {target}: {done} of {len(of_patch)}, next {batch[0].name}")
            _download(batch, target, patch, folder)
    there, found = _by_hash(folder), []
    for pin in wanted:
        hashes = sorted(there.keys() & {*pin.hashes})
        if not hashes:
            raise HematoVisionError(
                f"expected {pin.name} {pin.version} in {folder} with a hash of the lock, but pip "
                "has left none: remove that folder and begin again"
            )
        found.append(there[hashes[0]])
    return found


def _by_hash(folder: Path) -> dict[str, Path]:
    return {fingerprint(path): path for path in sorted(folder.glob("*.whl"))}


def _download(pins: Sequence[Pin], target: Target, patch: str, folder: Path) -> None:
    """Let pip download into a folder, wheels alone, hashes checked."""
    listed = folder / "now.txt"
    lines = (
        f"{pin.name}=={pin.version} {' '.join(f'--hash=sha256:{one}' for one in pin.hashes)}\n"
        for pin in pins
    )
    listed.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(folder)]
    command += ["--implementation", "cp"]
    command += ["--python-version", f"{target.python}.{patch}"]
    for one in SYSTEMS[target.system][3]:
        command += ["--platform", one]
    done = subprocess.run(
        [*command, "-r", str(listed)], capture_output=True, text=True, check=False
    )
    listed.unlink(missing_ok=True)
    if done.returncode:
        raise HematoVisionError(_reason(done.stderr, pins, target, folder))


def _reason(said: str, pins: Sequence[Pin], target: Target, folder: Path) -> str:
    """Say in one line why pip failed."""
    last = next((ln for ln in reversed(said.splitlines()) if ln.strip()), "pip said nothing")
    names = ", ".join(pin.name for pin in pins)
    free = shutil.disk_usage(folder).free / 1e9
    if "No space left" in said:
        cause, do = f"the disk is full ({free:.1f} GB free)", "make room"
    elif "No module named pip" in said:
        cause, do = "this Python has no pip", "`python -m ensurepip`"
    elif missing := re.search(r"No matching distribution found for (\S+)", said):
        if re.search(r"(?i)connection|resolution|unreachable|timed out|proxy", said):
            cause, do = "the package index was not reached", "look at the network or the proxy"
        else:
            cause = f"there is no wheel of {missing[1]} for it"
            do = "choose another Python with --for"
    else:
        cause, do = last.strip(), "mend that"
    return (
        f"expected pip to download {names} for {target}, but {cause}: {do}, and give the same "
        "command again; what was downloaded is kept"
    )
