"""What the tests share: the repository's paths, the real data where it is, small notebooks."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
REAL_ARCHIVE = ROOT.parent / "shared" / "data" / "blood-cells.zip"


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """Return the real data set's zip, or skip where it is not beside the repository."""
    if not REAL_ARCHIVE.exists():
        pytest.skip("the real data set is not beside the repository (../shared/data)")
    return REAL_ARCHIVE


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
