"""The steps of the chain: which notebooks there are, what each reads, writes and depends on."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hv_utils.chain.parameters import FILES
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import PROJECT_ROOT

NOTEBOOKS = PROJECT_ROOT / "notebooks"
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Step:
    """One notebook of the chain with the artefacts that it reads and writes.

    Attributes
    ----------
    name : str
        Stem of the notebook, such as `03_model`.
    reads, writes : tuple of str
        Artefacts of the run folder.
    alone : bool
        Whether no other step may run at the same time, as this one measures how long things take.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    alone: bool = False

    @property
    def notebook(self) -> Path:
        """The notebook's source."""
        return NOTEBOOKS / f"{self.name}.ipynb"


# A word in a notebook's code or parameters, and what is read where it stands. Of weights the small
# file will do that holds the checksum of the large one.
BESIDE = (
    ("sources.load(", "results/kaggle-sources.csv"),
    ("read_overlaps(", "results/kaggle-overlaps.csv"),
    ("reference_results(", "results/*/*.json"),
    ("published.", "results/*.json"),
    ("published.", "results/*/*.csv"),
    ('"lite0"', "hv_utils/shipped/lite0.json"),
    ('"auto"', "hv_utils/shipped/lite0.json"),
)
MODEL = ("model.keras", "model.keras.json")
STEPS = (
    Step("01_data", (), ("images.csv", "photos.csv")),
    Step("02_preprocessing", ("images.csv",), ("preprocessing.json",)),
    Step(
        "03_model",
        ("images.csv", "photos.csv"),
        (*MODEL, "model.onnx", "history.csv", "predictions.csv", "predictions-val.csv"),
    ),
    Step(
        "04_evaluation",
        ("images.csv", "predictions.csv", "predictions-val.csv"),
        ("metrics.json",),
    ),
    Step("05_gradcam", ("images.csv", "predictions.csv", *MODEL), ("gradcam.csv", "gradcam.json")),
    Step(
        "06_prediction",
        ("images.csv", "model.onnx"),
        ("new-predictions.csv", "prediction.json"),
        alone=True,
    ),
    Step("07_leak", ("images.csv",), ("leak.json", "oof-predictions.csv", "features.npz")),
    Step("08_ablations", ("images.csv", "history.csv", "features.npz"), ("ablations.json",)),
    Step(
        "09_audit",
        ("images.csv", "photos.csv", "features.npz", "oof-predictions.csv"),
        ("audit.json", "audit.csv"),
    ),
    Step(
        "10_claims",
        (
            *("images.csv", "metrics.json", "gradcam.json", "prediction.json"),
            *("ablations.json", "explanations.json"),
        ),
        ("claims.csv",),
    ),
    Step("11_home_model", (), ("home-model.json",)),
    Step("12_laboratories", (), ("laboratories.json",)),
    Step("13_words", (), ("words.json",)),
    Step(
        "14_sets",
        ("images.csv", "predictions.csv", "predictions-val.csv", "features.npz"),
        ("sets.json",),
    ),
    Step(
        "15_explanations",
        ("images.csv", "predictions.csv", "model.onnx"),
        ("explanations.json",),
    ),
    Step("16_fields", (), ("fields.json",)),
    Step("17_red_cells", (), ("red-cells.json",)),
)


def need_notebooks(folder: Path = NOTEBOOKS) -> None:
    """Refuse a package that was installed without the project around it.

    Raises
    ------
    HematoVisionError
        Where there are no notebooks.
    """
    if not folder.is_dir():
        raise HematoVisionError(
            f"expected the project's notebooks at {folder}, but there are none: hv was installed "
            "as a package alone, which is enough for `hv predict`; the chain and the book need a "
            "clone of the project, and there `make book`"
        )


def find_step(name: str, steps: Sequence[Step] = STEPS) -> Step:
    """Return the step called `name`: in full, by its number or by its noun.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    for step in steps:
        if name in (step.name, *step.name.split("_", 1)):
            return step
    names = ", ".join(step.name for step in steps)
    raise HematoVisionError(
        f"expected --from and --until to name one of the steps {names}, but it is {name!r}"
    )


def used_modules(notebook: Path) -> list[Path]:
    """Return the modules of this package that a notebook uses, directly or through others.

    The chain re-runs a notebook when one of them changes, and leaves the others alone.

    Parameters
    ----------
    notebook : Path
        An .ipynb file.

    Returns
    -------
    list of Path
        Sorted.
    """
    found: set[Path] = set()
    waiting = set(_imported(_code(notebook)))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _imported(path.read_text(encoding="utf-8"))
    return sorted(found)


def _code(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = "\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
    ).splitlines()
    return "\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in lines)


@cache  # by the text itself, as most modules are used by most notebooks
def _imported(code: str) -> frozenset[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    own = (name.split(".")[1:] for name in names if name.startswith(f"{PACKAGE.name}."))
    modules = (PACKAGE.joinpath(*parts).with_suffix(".py") for parts in own)
    return frozenset(path for path in modules if path.exists())


def files_beside(notebook: Path, values: Mapping[str, Any]) -> list[Path]:
    """Return the files that a notebook reads beside modules and run folder.

    Parameters
    ----------
    notebook : Path
        An .ipynb file: its code tells which published results and shipped weights it reads.
    values : mapping
        Its parameters: they name start weights and other files.

    Returns
    -------
    list of Path
        Sorted, each once.
    """
    from hv_utils.network.learnt import start_files

    text = _code(notebook) + json.dumps([*values.values()])
    patterns = {pattern for word, pattern in BESIDE if word in text}
    found = {path for pattern in patterns for path in PROJECT_ROOT.glob(pattern)}
    for name in FILES:
        found.update(start_files(values.get(name) or ""))
    return sorted(path for path in found if path.is_file())
