"""What the tests share: the repository's paths, the real data where it is, small notebooks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from hv_utils.ground.runs import Run

ROOT = Path(__file__).resolve().parent.parent
REAL_ARCHIVE = ROOT.parent / "shared" / "data" / "blood-cells.zip"
ONE_PROCESS = [sys.executable, ROOT / "tests" / "one_process.py"]
WITH_PACKAGE = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """Return the real data set's zip, or skip where it is not beside the repository."""
    if not REAL_ARCHIVE.exists():
        pytest.skip("the real data set is not beside the repository (../shared/data)")
    return REAL_ARCHIVE


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Build the book's pages once, with made-up results; return project, first page and run."""
    from fake_run import make_run
    from hv_utils.chain import book

    project = tmp_path_factory.mktemp("book")
    for name in ("book", "notebooks", "hv_utils"):
        skip = shutil.ignore_patterns("__pycache__", "weights", "figures")
        shutil.copytree(ROOT / name, project / name, ignore=skip)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, project / name)
    run = make_run(project / "runs" / "fake", project)
    return project, book.build(run, project=project), run


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Run:
    """Run the whole chain once, small; the first step and the training as readers have them."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    command = [
        *ONE_PROCESS,
        "--kernels",
        "01_data,03_model",
        "run",
        "--profile",
        "smoke",
        "--run",
        folder,
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=WITH_PACKAGE)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return Run(folder)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Give a page in headless Chromium, or skip where there is none."""
    from browser import Browser

    with Browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def write_notebook():
    """Return a function that writes a notebook: parameters cell, then code cells."""

    def write(path: Path, parameters: str, *cells: str) -> Path:
        notebook = new_notebook(
            cells=[
                new_markdown_cell("# A notebook for a test"),
                new_code_cell(parameters, metadata={"tags": ["parameters"]}),
                *(new_code_cell(cell) for cell in cells),
            ],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write
