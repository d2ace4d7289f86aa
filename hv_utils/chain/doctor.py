"""The check-up of a machine: what is missing in plain words, and how long the demo will take."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
import tomllib
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib import request
from urllib.parse import urlsplit

from hv_utils.ground.files import cores as usable_cores
from hv_utils.ground.files import renewed_json
from hv_utils.ground.runs import PROJECT_ROOT, REFERENCE_RESULTS

OK, NOTE, MISSING = STATES = ("ok", "note", "missing")
GB = 1e9
SPACE = 1.0  # GB; a demo run and its book take 0.4, measured
MEMORY = 4.0  # GB; a rule of thumb: TensorFlow, a browser and the system side by side
CORES = 2
RECORD = REFERENCE_RESULTS / "demo.json"
PROBE_SECONDS = 2.5
IN_A_KIT = (PROJECT_ROOT / "wheels").is_dir()  # of `hv course --room`, installed without a network
INSTALL = "the kit's install script" if IN_A_KIT else "`make book`"
BROWSERS = ("firefox", "chromium", "chromium-browser", "google-chrome", "microsoft-edge")
EXTRA_IS_FOR = {
    "dev": "make test",
    "serve": "hv serve",
    "explain": "notebook 15_explanations",
    "slides": "hv slides",
    "scale": "hv predict --out",
    "s3": "addresses s3://",
    "gs": "addresses gs://",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    state : str
        `ok`; `note`, which stops nothing; or `missing`, without which the demo cannot run.
    what : str
        What was looked at, in a word.
    says : str
        What was found, and where that is not enough, what to do.
    """

    state: str
    what: str
    says: str


@dataclass(frozen=True)
class Needs:
    """What the project declares that it needs.

    Attributes
    ----------
    python : str
        Bounds of the version, such as `>=3.11,<3.14`.
    packages : tuple of str
        Requirements of everything.
    extras : mapping
        Name of an extra to its requirements.
    """

    python: str
    packages: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]


def examine(folder: Path | None = None) -> list[Finding]:
    """Look at this machine.

    Parameters
    ----------
    folder : Path, optional
        Where runs and books are to be written; by default the project's folder, or for a package
        without one the current folder.

    Returns
    -------
    list of Finding
        In the order in which they are best mended. The last one tells the time of the demo.
    """
    import psutil

    project = (PROJECT_ROOT / "notebooks").is_dir()
    folder = folder or (PROJECT_ROOT if project else Path.cwd())
    needs = declared()
    found = [
        python(needs.python),
        packages(needs.packages),
        *locked(PROJECT_ROOT / "requirements.lock"),
        extras(needs.extras),
        writing(folder),
        space(shutil.disk_usage(folder).free / GB),
        memory(psutil.virtual_memory().total / GB),
        cores(usable_cores()),
        browser(),
        proxy(request.getproxies(), bypassed=bool(request.proxy_bypass("127.0.0.1"))),
    ]
    if not project:
        says = "not here: hv is installed as a package alone; the chain needs the project's folder"
        return [*found, Finding(NOTE, "demo", says)]
    if any(one.state == MISSING for one in found):
        return [*found, Finding(NOTE, "demo", "not timed before the above is mended")]
    return [*found, demo(probe(), usable_cores())]


def text(findings: list[Finding]) -> str:
    """Return the findings as lines, and a last line that sums them up."""
    lines = [f"{one.state:<8} {one.what:<9} {one.says}" for one in findings]
    missing = [one.what for one in findings if one.state == MISSING]
    end = f"missing: {', '.join(missing)}" if missing else "nothing essential is missing"
    return "\n".join([*lines, end])


def declared(project: Path = PROJECT_ROOT) -> Needs:
    """Read what is needed from pyproject.toml, or where there is none from the installed package.

    Parameters
    ----------
    project : Path
        The project's folder; that of a wheel holds no pyproject.toml.
    """
    path = project / "pyproject.toml"
    if path.is_file():
        facts = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        extras = {
            name: tuple(lines) for name, lines in facts.get("optional-dependencies", {}).items()
        }
        return Needs(facts["requires-python"], tuple(facts["dependencies"]), extras)
    about = metadata.metadata("hematovision")
    by_extra: dict[str, list[str]] = {"": []}
    for line in metadata.requires("hematovision") or []:
        wanted, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w.-]+)", marker)
        by_extra.setdefault(extra[1] if extra else "", []).append(wanted)
    needed = tuple(by_extra.pop(""))
    return Needs(about["Requires-Python"], needed, {n: tuple(r) for n, r in by_extra.items()})


def python(bounds: str, version: str = ".".join(map(str, sys.version_info[:3]))) -> Finding:
    """Look at the version of Python against bounds such as `>=3.11,<3.14`."""
    from packaging.specifiers import SpecifierSet

    if version in SpecifierSet(bounds):
        return Finding(OK, "Python", version)
    says = f"{version}, but {bounds} is needed: install one, remove .venv, then run {INSTALL} again"
    return Finding(MISSING, "Python", says)


def packages(needed: tuple[str, ...]) -> Finding:
    """Look at what is installed of the packages that everybody needs."""
    wrong = _unmet(needed)
    if not wrong:
        return Finding(OK, "packages", f"all {len(needed)} that are declared")
    says = f"{', '.join(wrong)}: run {INSTALL} again, or pip install what is named"
    return Finding(MISSING, "packages", says)


def locked(lock: Path) -> list[Finding]:
    """Look for packages of other versions than the lock's; no finding where there is no lock."""
    if not lock.is_file():
        return []
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;\\]+)", lock.read_text("utf-8")):
        pins.setdefault(name, set()).add(version)
    others = [
        f"{name} {has}"
        for name, versions in pins.items()
        if (has := _version(name)) and has not in versions
    ]
    if not others:
        return [Finding(OK, "lock", "versions as in requirements.lock")]
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    says = f"other versions than requirements.lock: {', '.join(others[:5])}{more}; not tried so"
    return [Finding(NOTE, "lock", says)]


def extras(wanted: Mapping[str, tuple[str, ...]]) -> Finding:
    """Look which extras are there; none is essential."""
    absent = [
        f"{name} ({EXTRA_IS_FOR.get(name, 'optional')})" for name in wanted if _unmet(wanted[name])
    ]
    if not absent:
        return Finding(OK, "extras", f"all: {', '.join(wanted)}")
    do = "no lesson needs them" if IN_A_KIT else "get one with pip install 'hematovision[NAME]'"
    says = f"not installed: {', '.join(absent)}; {do}"
    return Finding(NOTE, "extras", says)


def writing(folder: Path) -> Finding:
    """Try to write a file in a folder, and remove it."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".hv-doctor-"):
            pass
    except OSError as error:
        says = f"not in {folder} ({error.strerror}): move the project to a folder of your own"
        return Finding(MISSING, "writing", says)
    return Finding(OK, "writing", f"in {folder}")


def space(free: float) -> Finding:
    """Look at the free space, in GB."""
    if free >= SPACE:
        return Finding(OK, "space", f"{free:.1f} GB free")
    says = f"{free:.1f} GB free, but a run and its book need {SPACE:g}: make room"
    return Finding(MISSING, "space", says)


def memory(total: float) -> Finding:
    """Look at the memory, in GB."""
    if total >= MEMORY:
        return Finding(OK, "memory", f"{total:.1f} GB")
    says = (
        f"{total:.1f} GB; with less than {MEMORY:g} close other programs and use `hv run --jobs 1`"
    )
    return Finding(NOTE, "memory", says)


def cores(number: int) -> Finding:
    """Look at the processor cores that may be used."""
    if number >= CORES:
        return Finding(OK, "cores", str(number))
    return Finding(NOTE, "cores", "one only: notebooks run one after the other")


def browser() -> Finding:
    """Look for a browser; on a machine without a screen for one that could be called."""
    try:
        name = webbrowser.get().name  # type: ignore[attr-defined]
    except webbrowser.Error:
        name = next(filter(None, map(shutil.which, BROWSERS)), "")
    if name:
        return Finding(OK, "browser", Path(name).stem)
    says = "none found: copy the book's folder to a machine with one; it is plain files"
    return Finding(NOTE, "browser", says)


def proxy(proxies: Mapping[str, str], *, bypassed: bool) -> Finding:
    """Look for a proxy.

    Parameters
    ----------
    proxies : mapping
        Scheme to address, as `urllib.request.getproxies` gives it. Only the host is told: an
        address may hold a password.
    bypassed : bool
        Whether this machine's own address, 127.0.0.1, is asked without the proxy.
    """
    hosts = sorted({_host(url) for scheme, url in proxies.items() if scheme != "no"} - {""})
    if not hosts:
        return Finding(OK, "proxy", "none")
    says = f"{', '.join(hosts)}: installing goes through it, and nothing else needs the network"
    if not bypassed:
        says += "; for JupyterLab and hv serve set NO_PROXY=127.0.0.1,localhost"
    return Finding(NOTE, "proxy", says)


def probe(seconds: float = PROBE_SECONDS) -> float:
    """Return how many images a second the model in the box judges here, on one core.

    The time that the core has worked for it counts, and of all calls the fastest: what else the
    machine does at the moment will pass.
    """
    import numpy as np

    from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier

    model = OnnxClassifier.load(SHIPPED_MODEL, threads=1)
    image = np.random.default_rng(0).integers(0, 256, (1, *model.size, 3), np.uint8)
    model.run(image)  # the first call prepares
    fastest, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.thread_time()
        model.run(image)
        fastest = min(fastest, time.thread_time() - start)
    return 1 / fastest


def demo(rate: float, number: int, record: Path = RECORD) -> Finding:
    """Tell how long the demo takes here.

    Parameters
    ----------
    rate : float
        Images a second on one core, as `probe` finds them here.
    number : int
        Cores that may be used here. More than the record's promise nothing.
    record : Path
        What `scripts/record_demo.py` wrote: the time of a run, and the rate on that machine. The
        time is scaled by rates and cores, as if the chain did nothing but what the probe does.
    """
    facts: dict[str, Any] = renewed_json(record)
    if not facts:
        return Finding(NOTE, "demo", f"its time is not known: {record.name} is not there")
    there, then = facts["machine"]["cores"], facts["images_per_s"]
    seconds = facts["seconds"] * then / rate * there / min(number, there)
    says = (
        f"about {_minutes(seconds)} for {facts['notebooks']} notebooks, perhaps twice that: a core "
        f"here judges {rate:.0f} images a second, and {then:.0f} where they took "
        f"{_minutes(facts['seconds'])} on {there} cores; the book comes on top"
    )
    return Finding(OK, "demo", says)


def _minutes(seconds: float) -> str:
    number = max(1, round(seconds / 60))
    return f"{number} minute{'s' if number > 1 else ''}"


def _host(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"//{url}")
    return parts.hostname or ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _unmet(requirements: tuple[str, ...]) -> list[str]:
    """Say of each requirement that is not met what is there instead."""
    from packaging.requirements import Requirement

    wrong = []
    for wanted in map(Requirement, requirements):
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        has = _version(wanted.name)
        if not has:
            wrong.append(f"{wanted.name} is not installed")
        elif not wanted.specifier.contains(has, prereleases=True):
            wrong.append(f"{wanted.name} is {has}, not {wanted.specifier}")
    return wrong
