"""The page that classifies: in the browser when opened from disk, by the service when served.

A browser lets a page from disk load classic scripts and nothing else. So models, runtime and OpenCV
are written as scripts, too: compressed, as text, and loaded when the first image comes. A page that
`hv serve` hands out is one file and sends the images to the service instead.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from hv_utils.ground.files import write_text
from hv_utils.inference.familiarity import FACT as DISTANCES
from hv_utils.inference.morphology import LEAST as LEAST_LIKELY
from hv_utils.inference.morphology import SHOWN, SILENT, WORDS, morphology_path, read_morphology
from hv_utils.inference.onnx_model import SHIPPED_MODEL, read_verified
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.inference.preparation import HUE, LARGEST, RESIZED, VIEW
from hv_utils.inference.sets import COVERAGE
from hv_utils.inference.sets import FACT as SETS
from hv_utils.serve.runtime import CACHE_IN_WORDS, ONNX_RUNTIME, OPENCV, PACKAGES, kept_files

STATIC = Path(__file__).parent / "static"
MODELS = (TRAVELLING_MODEL, SHIPPED_MODEL)  # the first is chosen until another is, as by hv predict
PARTS = {"runtime": ONNX_RUNTIME, "opencv": OPENCV}
WORKS = ("classify-finder.js", "classify-worker.js")  # in the browser, in place of the service
STYLE, SHOWS, LICENCE = "classify.css", "classify.js", "onnxruntime-LICENSE.txt"
PLACE = STATIC / "classify-place.html"
TO_TRAIN_ON = "base_"  # how the names of arrays begin that no verdict needs
IN_BROWSER = (
    "Pictures of white blood cells, judged in this browser. Whole fields are searched for cells. "
    "The pictures stay on this computer."
)
BY_SERVICE = (
    "Pictures of white blood cells, judged by the service that has sent this page. The pictures go "
    "to it alone; it writes nothing down and keeps nothing."
)


def place(folder: str) -> str:
    """Return the HTML in which the page's scripts work.

    Parameters
    ----------
    folder : str
        Address of what `write_parts` writes, as seen from the page; "" or ending in a slash.
    """
    names = ("classify-facts.js", *WORKS, SHOWS)
    return _place(
        folder, "\n".join(f'<script src="{folder}{name}" defer></script>' for name in names)
    )


def _place(folder: str, scripts: str) -> str:
    words = {"folder": folder, "scripts": scripts, "cache": CACHE_IN_WORDS}
    words["packages"] = " ".join(package.name for package in PACKAGES)
    return _filled(PLACE, words)


def _filled(template: Path, words: Mapping[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(words)


def write_page(folder: str | Path, *, models: Sequence[str | Path] = MODELS) -> Path:
    """Write a page by itself, with all that it needs, into a folder.

    Parameters
    ----------
    folder : str or Path
        Made where missing.
    models : sequence of str or Path
        See `write_parts`.

    Returns
    -------
    Path
        The page, `index.html`.

    Raises
    ------
    HematoVisionError
        See `write_parts`.
    """
    write_parts(folder, models=models)
    style = f'<link rel="stylesheet" href="{STYLE}">'
    words = {"style": style, "about": IN_BROWSER, "place": place("")}
    return write_text(Path(folder) / "index.html", _filled(STATIC / "page.html", words))


def service_page() -> str:
    """Return the page that a service hands out, all of it, as HTML."""
    style, script = ((STATIC / name).read_text(encoding="utf-8") for name in (STYLE, SHOWS))
    facts = f"hvClassify = {{ facts: {json.dumps({'service': True, 'colours': _inferno()})} }};"
    scripts = f"<script>\n{facts}\n{script}</script>"
    words = {"style": f"<style>\n{style}</style>", "about": BY_SERVICE}
    return _filled(STATIC / "page.html", {**words, "place": _place("", scripts)})


def write_parts(folder: str | Path, *, models: Sequence[str | Path] = MODELS) -> dict:
    """Write scripts, style, models and, where they are kept, runtime and OpenCV into a folder.

    What is there of the same models and packages stays: compressing them takes seconds.

    Parameters
    ----------
    folder : str or Path
        Made where missing.
    models : sequence of str or Path
        Exported models, of whole pictures or of cells.

    Returns
    -------
    dict
        What the page knows: its `models`, with `classes`, `size` and others; `lacking`, the names
        of packages that are not there.

    Raises
    ------
    HematoVisionError
        Where a model cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*WORKS, SHOWS, STYLE, LICENCE):
        shutil.copyfile(STATIC / name, folder / name)
    lacking, sizes = [], {}
    for part, package in PARTS.items():
        path, files = folder / f"classify-{part}.js", dict(kept_files(package))
        if licence := files.pop("licence", b""):
            (folder / f"{part}-LICENSE.txt").write_bytes(licence)
        if files:
            sizes[part] = _script(path, key=package.name, make=lambda files=files: files)
        else:
            path.unlink(missing_ok=True)
            lacking.append(package.name)
    known = [_read(Path(model)) for model in models]
    for one in known:
        needs = ["runtime", *(["opencv"] if one.about["view"] != RESIZED else [])]
        part = f"model-{one.about['key']}"
        size = _script(folder / f"classify-{part}.js", key=one.checksum, make=one.packed)
        one.about["able"] = all(need in sizes for need in needs)
        one.about["parts"] = [*needs, part]
        one.about["megabytes"] = round((size + sum(sizes.get(need, 0) for need in needs)) / 1e6)
    about = {
        "models": [one.about for one in known],
        "coverage": COVERAGE,
        "colours": _inferno(),
        "lacking": lacking,
    }
    write_text(folder / "classify-facts.js", f"hvClassify = {{ facts: {json.dumps(about)} }};\n")
    return about


@dataclass(frozen=True)
class _Model:
    """What the page knows of a model, and its numbers."""

    about: dict[str, Any]
    graph: bytes
    arrays: Mapping[str, np.ndarray]
    checksum: str

    def packed(self) -> dict[str, bytes]:
        numbers = np.concatenate([array.ravel() for array in self.arrays.values()])
        return {"graph": self.graph, "arrays": numbers.astype("<f4").tobytes()}


def _read(path: Path) -> _Model:
    facts, graph, arrays = read_verified(path)
    arrays = {name: array for name, array in arrays.items() if not name.startswith(TO_TRAIN_ON)}
    about = {
        "key": path.stem,
        "name": path.name,
        "view": facts.get(VIEW, RESIZED),
        "classes": facts["classes"],
        "size": facts["size"],
        "temperature": facts.get("temperature", 1.0),
        "unsureBelow": facts.get("thresholds", {}).get("unsure_below", 0.0),
        "sets": _by_class(facts, SETS),
        "distances": _by_class(facts, DISTANCES),
        "hue": facts.get(HUE),
        "largest": [facts.get(LARGEST, {}).get(kind) for kind in facts["classes"]],
    }
    checksum = facts["sha256"]["onnx"] + facts["sha256"]["npz"]
    if morphology_path(path).is_file():
        looks = read_morphology(path, features_sha256=facts["sha256"]["onnx"])
        arrays |= {f"looks_{name}": getattr(looks, name) for name in ("kernel", "bias", "typical")}
        words = [[name not in SILENT, list(values.values())] for name, values in WORDS.items()]
        about["looks"] = {"classes": looks.classes, "margin": looks.margin, "words": words}
        about["looks"] |= {"shown": SHOWN, "least": LEAST_LIKELY}
        checksum += " with words"
    about["arrays"] = [[name, array.size] for name, array in arrays.items()]
    return _Model(about, graph, arrays, checksum)


def _script(path: Path, *, key: str, make: Callable[[], Mapping[str, bytes]]) -> int:
    """Write data as a script, unless it stands there under the same key; return its size."""
    head = f"// {key}\n"
    if path.is_file():
        with path.open(encoding="ascii") as file:
            if file.readline() == head:
                return path.stat().st_size
    packed = {
        name: base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
        for name, data in make().items()
    }
    part = path.stem.removeprefix("classify-")
    write_text(path, f'{head}hvClassify["{part}"] = {json.dumps(packed)};\n')
    return path.stat().st_size


def _by_class(facts: Mapping, name: str) -> list | None:
    return [facts[name][kind] for kind in facts["classes"]] if name in facts else None


def _inferno() -> str:
    """Return the 256 colours of heat maps, six digits each."""
    from matplotlib import colormaps

    return colormaps["inferno"](np.arange(256), bytes=True)[:, :3].tobytes().hex()
