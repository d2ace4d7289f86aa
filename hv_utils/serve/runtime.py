"""ONNX Runtime Web, which runs a model in a browser: fetched once with npm, checked, and kept.

It is a package of JavaScript's registry, under the MIT licence, and no part of this repository.
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
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path

PACKAGE = "onnxruntime-web@1.30.0"
TARBALL = "onnxruntime-web-1.30.0.tgz"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = {  # of the package's folder dist, with their SHA-256
    "script": (
        "ort.wasm.min.js",
        "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    ),
    "module": (
        "ort-wasm-simd-threaded.mjs",
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    ),
    "wasm": (
        "ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
LIMIT_S = 30.0
CACHE_IN_WORDS = "~/.cache/hematovision"


def cache() -> Path:
    """Return the folder that keeps the runtime for every project of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hematovision"


def runtime_files() -> dict[str, bytes]:
    """Return the kept files, by the names of `FILES`; nothing where one lacks or is damaged."""
    folder, found = cache() / TARBALL.removesuffix(".tgz"), {}
    for name, (file, expected) in FILES.items():
        path = folder / file
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != expected:
            return {}
        found[name] = data
    return found


def fetch_runtime(*, limit_s: float = LIMIT_S) -> str:
    """Fetch the runtime, unless it is there; a package that somebody put into the cache is taken.

    Parameters
    ----------
    limit_s : float
        Seconds after which npm is given up.

    Returns
    -------
    str
        Why it is not there, in one line; "" where it is. Nothing is raised: a book without the
        runtime is a whole book but for one page.
    """
    if runtime_files():
        return ""
    try:
        if (cache() / TARBALL).is_file():
            _keep(cache() / TARBALL)
        else:
            with tempfile.TemporaryDirectory() as folder:
                _npm_pack(Path(folder), limit_s)
                _keep(Path(folder) / TARBALL)
    except HematoVisionError as error:
        return str(error)
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
        reason = str(error).splitlines()[0][:160]
        return f"expected {PACKAGE} from npm, but it cannot be had or kept ({reason})"
    return ""


def _npm_pack(folder: Path, limit_s: float) -> None:
    """Let npm, with its own settings for registries and proxies, write the package there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("npm", path=path)
    if program is None:
        raise HematoVisionError(f"expected npm to fetch {PACKAGE}, but it is not installed")
    settings = {"npm_config_fetch_retries": "0", "npm_config_update_notifier": "false"}
    done = subprocess.run(
        [program, "pack", "--silent", PACKAGE],
        cwd=folder,
        env={**os.environ, **settings, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit_s,
        check=False,
    )
    if done.returncode:
        raise HematoVisionError(
            f"expected {PACKAGE} from npm, but npm cannot fetch it: is there a network?"
        )


def _keep(tarball: Path) -> None:
    """Check a package and put what a page needs of it into the cache."""
    data = tarball.read_bytes()
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != SHA512:
        raise HematoVisionError(
            f"expected {PACKAGE} with SHA-512 {SHA512[:12]}…, but it has {found[:12]}…: "
            "it is damaged or another; fetch it again"
        )
    with tarfile.open(tarball) as package:
        for file, _ in FILES.values():
            with atomic_path(cache() / TARBALL.removesuffix(".tgz") / file) as temporary:
                temporary.write_bytes(package.extractfile(f"package/dist/{file}").read())
