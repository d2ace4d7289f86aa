"""The page that classifies in the browser: opened from disk or served, with no request to anyone.

A browser lets a page from disk load classic scripts and nothing else. So the model and the runtime
are written as scripts, too: compressed, as text, and loaded when the first image comes.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import write_text
from hv_utils.inference.familiarity import FACT as DISTANCES
from hv_utils.inference.onnx_model import SHIPPED_MODEL, read_verified
from hv_utils.inference.preparation import RESIZED, VIEW
from hv_utils.inference.sets import COVERAGE
from hv_utils.inference.sets import FACT as SETS
from hv_utils.serve.runtime import CACHE_IN_WORDS, PACKAGE, runtime_files

STATIC = Path(__file__).parent / "static"
COPIED = ("classify.js", "classify-worker.js", "classify.css", "onnxruntime-LICENSE.txt")
PLACE = STATIC / "classify-place.html"


def place(folder: str) -> str:
    """Return the HTML in which the page's scripts work.

    Parameters
    ----------
    folder : str
        Address of what `write_parts` writes, as seen from the page; "" or ending in a slash.
    """
    words = {"folder": folder, "package": PACKAGE, "cache": CACHE_IN_WORDS}
    return Template(PLACE.read_text(encoding="utf-8")).substitute(words)


def write_page(folder: str | Path, *, model: str | Path = SHIPPED_MODEL) -> Path:
    """Write a page by itself, with all that it needs, into a folder.

    Parameters
    ----------
    folder : str or Path
        Made where missing.
    model : str or Path
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
    classes = write_parts(folder, model=model)["classes"]
    words = {"folder": "", "model": Path(model).name, "place": place("")}
    words["classes"] = f"{', '.join(classes[:-1])} or {classes[-1]}"
    page = Template((STATIC / "page.html").read_text(encoding="utf-8")).substitute(words)
    return write_text(Path(folder) / "index.html", page)


def write_parts(folder: str | Path, *, model: str | Path = SHIPPED_MODEL) -> dict:
    """Write the scripts, the style, the model and, where it is kept, the runtime into a folder.

    What is there of the same model and runtime stays: compressing them takes a second.

    Parameters
    ----------
    folder : str or Path
        Made where missing.
    model : str or Path
        An exported model of whole pictures: a page cannot find cells.

    Returns
    -------
    dict
        What the page knows of the model: `classes`, `size`, `runtime` (bool) and others.

    Raises
    ------
    HematoVisionError
        Where the model cannot be read, or takes standard views of cells.
    """
    folder, model = Path(folder), Path(model)
    facts, graph, arrays = read_verified(model)
    if facts.get(VIEW, RESIZED) != RESIZED:
        raise HematoVisionError(
            f"expected a model of whole pictures for the page, but {model} takes views of cells, "
            "which a page cannot find: name a model that was trained by hv run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(STATIC / name, folder / name)
    numbers = np.concatenate([array.ravel() for array in arrays.values()]).astype("<f4")
    parts = [
        _script(
            folder / "classify-model.js",
            key=facts["sha256"]["onnx"] + facts["sha256"]["npz"],
            make=lambda: {"graph": graph, "arrays": numbers.tobytes()},
        )
    ]
    runtime, path = runtime_files(), folder / "classify-runtime.js"
    if not runtime:
        path.unlink(missing_ok=True)
    else:
        parts.append(_script(path, key=PACKAGE, make=lambda: runtime))
    about = {
        "model": model.name,
        "classes": facts["classes"],
        "size": facts["size"],
        "temperature": facts.get("temperature", 1.0),
        "unsureBelow": facts.get("thresholds", {}).get("unsure_below", 0.0),
        "coverage": COVERAGE,
        "sets": _by_class(facts, SETS),
        "distances": _by_class(facts, DISTANCES),
        "arrays": [[name, array.size] for name, array in arrays.items()],
        "colours": _inferno(),
        "runtime": bool(runtime),
        "megabytes": round(sum(path.stat().st_size for path in parts) / 1e6),
    }
    write_text(folder / "classify-facts.js", f"hvClassify = {{ facts: {json.dumps(about)} }};\n")
    return about


def _script(path: Path, *, key: str, make: Callable[[], Mapping[str, bytes]]) -> Path:
    """Write data as a script, unless it stands there under the same key."""
    head = f"// {key}\n"
    if path.is_file():
        with path.open(encoding="ascii") as file:
            if file.readline() == head:
                return path
    packed = {
        name: base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
        for name, data in make().items()
    }
    part = path.stem.removeprefix("classify-")
    return write_text(path, f"{head}hvClassify.{part} = {json.dumps(packed)};\n")


def _by_class(facts: Mapping, name: str) -> list | None:
    return [facts[name][kind] for kind in facts["classes"]] if name in facts else None


def _inferno() -> str:
    """Return the 256 colours of heat maps, six digits each."""
    from matplotlib import colormaps

    return colormaps["inferno"](np.arange(256), bytes=True)[:, :3].tobytes().hex()
