"""A finished run without a run: the notebooks as they stand, with made-up outputs."""

import ast
import base64
import json
import re
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fake_predictions import CLASSES, predictions
from hv_utils.chain.book_stage import FIGURE, notebook_names
from hv_utils.ground.runs import Run
from hv_utils.images.voc import Box, annotation_path, write_boxes

GLUE = re.compile(r"\{glue:text\}`(?:\.\./)+notebooks/(\w+)\.ipynb::(\w+)(?::([^`]*))?`")
PIXEL = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
        "gg=="
    )
).decode()

TABLE = pd.DataFrame({"precision": [0.9, 0.8, 0.7]}, index=["eosinophil", "lymphocyte", "mean"])


def glue_references(book: Path) -> set[tuple[str, str, str]]:
    """Return (notebook, key, format) of every number that the pages fetch."""
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted(book.rglob("*.md")))
    return set(GLUE.findall(pages))


def glued_patterns(notebook: Path) -> list[re.Pattern]:
    """Return patterns of every key that a notebook can glue, from the texts in its code."""
    cells = nbformat.read(notebook, as_version=4).cells
    codes = [re.sub(r"(?m)^\s*[%!].*", "pass", c.source) for c in cells if c.cell_type == "code"]
    # Where a helper builds the keys, the run on the smoke profile is what checks them.
    patterns = [re.compile(r"\w+")] if any(".glue_values(" in code for code in codes) else []
    for node in (node for code in codes for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            patterns.append(re.compile(re.escape(node.value)))
        elif isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(part.value) if isinstance(part, ast.Constant) else r"\w+"
                for part in node.values
            ]
            if set(parts) != {r"\w+"}:  # else it would match every key
                patterns.append(re.compile("".join(parts)))
    return patterns


def executed(source: Path, keys: set[str], out: Path) -> None:
    """Write a notebook as if it had been run: tables, numbers, pictures where there is alt text."""
    if source.exists():
        notebook = nbformat.read(source, as_version=4)
    else:
        notebook = new_notebook(cells=[new_markdown_cell(f"# {source.stem}"), new_code_cell("1")])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        cell.outputs = []
        if "image" in cell.metadata.get("mystnb", {}):
            cell.outputs = [new_output("display_data", {"image/png": PIXEL})]
    for html in (TABLE.to_html(), TABLE.style.format("{:.3f}").to_html()):
        code[0].outputs.append(new_output("display_data", {"text/html": html, "text/plain": "-"}))
    for key in sorted(keys):
        data = {"application/papermill.record/text/plain": "1"}
        about = {"name": key, "mime_prefix": "application/papermill.record/"}
        code[-1].outputs.append(new_output("display_data", data, metadata={"scrapbook": about}))
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata["papermill"] = {"output_path": str(out), "exception": None}
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out)


def make_run(folder: Path, project: Path) -> Run:
    """Fill a run folder with all that the book of `project` takes from one."""
    run = Run.open(folder)
    wanted = glue_references(project / "book")
    for name in notebook_names(project / "_toc.yml"):
        keys = {key for notebook, key, _ in wanted if notebook == name}
        executed(project / "notebooks" / f"{name}.ipynb", keys, run.path(f"notebooks/{name}.ipynb"))
    run.path("figures").mkdir(exist_ok=True)
    for page in (project / "book").rglob("*.md"):
        for figure in FIGURE.findall(page.read_text(encoding="utf-8")):
            run.path("figures").joinpath(figure).write_bytes(base64.b64decode(PIXEL))
    write_artefacts(run)
    return run


def write_artefacts(run: Run) -> None:
    """Write the tables of a run on drawn cells, and the photos of its test cells."""
    test, copies = predictions(n_cells=16, copies=6), 5
    test["path"] = [str(run.path(f"photos/JPEGImages/{cell}.jpg")) for cell in test["cell"]]
    run.write_table("predictions.csv", test)
    run.write_table("predictions-val.csv", predictions(n_cells=8, copies=6, seed=1))
    run.write_json("metrics.json", {"classes": CLASSES, "calibration": {"temperature": 1.2}})
    chosen = {"thresholds": {"unsure_below": 0.6}, "calibration": {"target": 0.9}}
    run.write_json("model.onnx.json", chosen)
    train = pd.DataFrame({"cell": np.repeat([f"{100 + n:05d}" for n in range(20)], copies)})
    drawn = test[["cell", "path"]].assign(split="test", drawn_as=test["label"], variant="typical")
    images = pd.concat([train.assign(split="train"), drawn])
    run.write_table("images.csv", images.assign(source="demo"))
    photos = test.drop_duplicates("cell")[["cell", "label"]].rename(columns={"cell": "photo"})
    photos["path"] = [str(_photo(run, number)) for number in photos["photo"]]
    run.write_table("photos.csv", photos)


def _photo(run: Run, number: str) -> Path:
    """Draw a grey photo with one purple disc and its box."""
    path = run.path(f"photos/JPEGImages/{number}.jpg")
    annotation_path(path).parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((480, 640, 3), 210, np.uint8)
    cv2.circle(image, (320, 240), 60, (140, 60, 110), -1)
    cv2.imwrite(str(path), image)
    box = Box("WBC", 260, 180, 380, 300)
    write_boxes(annotation_path(path), [box], photo=path.name, size=image.shape[:2])
    return path


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))
