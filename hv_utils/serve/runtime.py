"""What a page needs to run a model and to find cells: fetched once with npm, checked, and kept.

ONNX Runtime Web (MIT licence) and OpenCV.js (Apache License 2.0) are packages of JavaScript's
registry and no part of this repository.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path


@dataclass(frozen=True)
class Package:
    """A package of npm's registry, one version of it.

    Attributes
    ----------
    name : str
        With its version, as npm knows it.
    tarball : str
        The file that `npm pack` makes of it.
    sha512 : str
        Of that file, in base64.
    files : dict of str to tuple of str
        What a page needs of it: its path in the package, and its SHA-256.
    """

    name: str
    tarball: str
    sha512: str
    files: Mapping[str, tuple[str, str]]

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        return cache() / self.tarball.removesuffix(".tgz")


ONNX_RUNTIME = Package(
    name="onnxruntime-web@1.30.0",
    tarball="onnxruntime-web-1.30.0.tgz",
    sha512="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    files={
        "script": (
            "dist/ort.wasm.min.js",
            "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
        ),
        "module": (
            "dist/ort-wasm-simd-threaded.mjs",
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        ),
        "wasm": (
            "dist/ort-wasm-simd-threaded.wasm",
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
        ),
    },
)
OPENCV = Package(
    name="@techstark/opencv-js@5.0.0-release.1",
    tarball="techstark-opencv-js-5.0.0-release.1.tgz",
    sha512="PIm+eB0MFtieXoNC2GRao0dv/02sehG+Nv2nSW5D6pQm6J/4WqvDHm0RyoqOmGYQm67jdGiaOdIeTShCY3PIUg==",
    files={
        "script": (
            "dist/opencv.js",
            "b873c8211421da7b9bf41ae157a923f05a46a0b8d3e5904c44c6f3ad6d39a1bd",
        ),
        "licence": (
            "LICENSE",
            "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
        ),
    },
)
PACKAGES = (ONNX_RUNTIME, OPENCV)
LIMIT_S = 30.0
CACHE_IN_WORDS = "~/.cache/hematovision"


def cache() -> Path:
    """Return the folder that keeps the runtime for every project of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hematovision"


def kept_files(package: Package) -> dict[str, bytes]:
    """Return a package's kept files by name; nothing where one lacks or is damaged."""
    found = {}
    for name, (file, expected) in package.files.items():
        path = package.folder / Path(file).name
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != expected:
            return {}
        found[name] = data
    return found


def fetch(package: Package, *, limit_s: float = LIMIT_S) -> str:
    """Fetch a package, unless it is there; one that somebody put into the cache is taken.

    Parameters
    ----------
    package : Package
    limit_s : float
        Seconds after which npm is given up.

    Returns
    -------
    str
        Why it is not there, in one line; "" where it is. Nothing is raised: a book without the
        runtime is a whole book but for one page.
    """
    if kept_files(package):
        return ""
    try:
        if (cache() / package.tarball).is_file():
            _keep(package, cache() / package.tarball)
        else:
            with tempfile.TemporaryDirectory() as folder:
                _npm_pack(package, Path(folder), limit_s)
                _keep(package, Path(folder) / package.tarball)
    except HematoVisionError as error:
        return str(error)
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
        reason = str(error).splitlines()[0][:160]
        return f"expected {package.name} from npm, but it cannot be had or kept ({reason})"
    return ""


def fetch_runtime(*, limit_s: float = LIMIT_S) -> str:
    """Fetch `PACKAGES`; returns why the first that lacks is not there, see `fetch`."""
    return next(filter(None, (fetch(one, limit_s=limit_s) for one in PACKAGES)), "")


def _npm_pack(package: Package, folder: Path, limit_s: float) -> None:
    """Let npm, with its own settings for registries and proxies, write the package there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("npm", path=path)
    if program is None:
        raise HematoVisionError(f"expected npm to fetch {package.name}, but it is not installed")
    settings = {"npm_config_fetch_retries": "0", "npm_config_update_notifier": "false"}
    done = subprocess.run(
        [program, "pack", "--silent", package.name],
        cwd=folder,
        env={**os.environ, **settings, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit_s,
        check=False,
    )
    if done.returncode:
        raise HematoVisionError(
            f"expected {package.name} from npm, but npm cannot fetch it: is there a network?"
        )


def _keep(package: Package, tarball: Path) -> None:
    """Check a package and put what a page needs of it into the cache."""
    data = tarball.read_bytes()
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != package.sha512:
        raise HematoVisionError(
            f"expected {package.name} with SHA-512 {package.sha512[:12]}…, but it has "
            f"{found[:12]}…: it is damaged or another; fetch it again"
        )
    with tarfile.open(tarball) as packed:
        for file, _ in package.files.values():
            with atomic_path(package.folder / Path(file).name) as temporary:
                temporary.write_bytes(packed.extractfile(f"package/{file}").read())
