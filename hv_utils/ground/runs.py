"""The run folder: where one run of the chain keeps its artefacts and its manifest."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, dump_json, renewed_json, write_text
from hv_utils.ground.locks import hold_in_notebook

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Markdown
    from matplotlib.figure import Figure

PROJECT_ROOT = Path(__file__).resolve().parents[2]
REFERENCE_RESULTS = PROJECT_ROOT / "results"
TEXT_COLUMNS = ("path", "label", "predicted", "suggested", "category", "doubt", "split", "mask")
SOURCE_COLUMNS = ("cell", "group", "photo")
PATH_COLUMNS = ("path", "mask")
BELOW = "./"  # a path below the run's folder, in a run that may be moved
RECORDED_PACKAGES = (
    "hematovision",
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "scikit-learn",
    "opencv-python-headless",
    "papermill",
    "jupyter-book",
)


@dataclass(frozen=True)
class Run:
    """One run folder and the files in it.

    Attributes
    ----------
    folder : Path
        Absolute path of the folder.
    """

    folder: Path

    @classmethod
    def open(cls, run_dir: str | Path) -> Run:
        """Open the run folder `run_dir`, made where missing.

        A notebook holds it from then on, until its kernel ends.

        Parameters
        ----------
        run_dir : str or Path
            A relative path is taken from the project's root, so that a notebook finds the same
            folder from JupyterLab, from papermill and from the chain.

        Returns
        -------
        Run

        Raises
        ------
        HematoVisionError
            Where the folder can be neither found nor made; in a notebook run by hand, where a chain
            is at work in it.
        """
        folder = Path(run_dir).expanduser()
        if not folder.is_absolute():
            folder = PROJECT_ROOT / folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HematoVisionError(
                f"expected a run folder that can be written, but {folder} cannot be made "
                f"({error.strerror}): choose another run, such as --run /elsewhere/{folder.name}, "
                "or mend the permissions"
            ) from error
        run = cls(folder.resolve())
        if "pandas" in sys.modules:  # a notebook, or whoever is about to make tables
            _keep_file_names()
        hold_in_notebook(run.folder)
        return run

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    def path(self, name: str) -> Path:
        """Return the path of artefact `name`, whether it exists or not."""
        return self.folder / name

    def need(self, name: str, *, made_by: str) -> Path:
        """Return the path of artefact `name`, which notebook `made_by` should have written.

        Raises
        ------
        HematoVisionError
            Where the artefact is not there.
        """
        path = self.path(name)
        if not path.exists():
            raise HematoVisionError(
                f"expected {name} in {self.folder}, which has none: "
                f"run notebooks/{made_by}.ipynb first, or the whole chain with `hv run`"
            )
        return path

    def read_table(self, name: str, *, made_by: str = "01_data") -> pd.DataFrame:
        """Read a CSV artefact as it was written.

        Classes are text whatever they are called, `01`, `nan` or `True`; only an empty field is
        missing. Source photos (`cell`, `group`, `photo`) are strings or missing. A path that begins
        with `./`, as in the copy of a run that a kit has, is below the run's folder.
        """
        import pandas as pd

        _keep_file_names()
        table = pd.read_csv(
            self.need(name, made_by=made_by),
            dtype=dict.fromkeys(TEXT_COLUMNS, str) | dict.fromkeys(SOURCE_COLUMNS, "string"),
            keep_default_na=False,
            na_values=[""],
            encoding_errors="surrogateescape",
        )
        for column in table.columns.intersection(PATH_COLUMNS):
            below = table[column].str.startswith(BELOW, na=False)
            if below.any():
                table[column] = table[column].map(self._absolute, na_action="ignore")
        return table

    def _absolute(self, path: str) -> str:
        return str(self.folder / path) if path.startswith(BELOW) else path

    def write_table(self, name: str, table: pd.DataFrame) -> Path:
        """Write a table as CSV without its index; file names that are no UTF-8 keep their bytes."""
        with atomic_path(self.path(name)) as temporary:
            table.to_csv(temporary, index=False, errors="surrogateescape")
        return self.path(name)

    def read_json(self, name: str, *, made_by: str = "01_data") -> dict[str, Any]:
        """Read a JSON artefact."""
        return json.loads(self.need(name, made_by=made_by).read_text(encoding="utf-8"))

    def write_json(self, name: str, value: Mapping[str, Any]) -> Path:
        """Write a mapping as JSON."""
        return write_text(self.path(name), dump_json(value))

    def write_figure(self, name: str, figure: Figure) -> Path:
        """Write a Matplotlib figure to `figures/<name>` (PNG, 200 dots per inch).

        The bytes stay on the figure as `written`: a notebook shows them, and draws nothing twice.
        """
        path, drawn = self.path("figures") / name, BytesIO()
        figure.savefig(drawn, format="png", dpi=200, bbox_inches="tight")
        figure.written = drawn.getvalue()
        with atomic_path(path) as temporary:
            temporary.write_bytes(figure.written)
        return path

    @property
    def manifest(self) -> dict[str, Any]:
        """What is recorded of the run so far; empty before anything is."""
        return renewed_json(self.path("manifest.json"))

    def record(self, **entries: Any) -> dict[str, Any]:
        """Merge `entries` into manifest.json; a mapping is merged into the one already there."""
        from filelock import FileLock

        with FileLock(self.path(".manifest.lock")):  # the chain and its kernels write it
            manifest = self.manifest
            for key, value in entries.items():
                if isinstance(value, Mapping) and isinstance(manifest.get(key), dict):
                    manifest[key] = {**manifest[key], **value}
                else:
                    manifest[key] = value
            self.write_json("manifest.json", manifest)
        return manifest


def _keep_file_names() -> None:
    """Let pandas hold text as Python does: pyarrow, where it is installed, takes UTF-8 alone."""
    import pandas as pd

    pd.set_option("mode.string_storage", "python")


def environment() -> dict[str, Any]:
    """Return what a reader needs to judge a run: commit, versions, machine."""
    return {
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "processor": _processor(),
        },
    }


def git_commit() -> str | None:
    """Return the project's commit, with `+` behind it where files differ from it; None outside."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def reference_results(profile: str = "kaggle") -> dict[str, Any] | None:
    """Return the committed numbers of the reference run on the real data.

    Parameters
    ----------
    profile : str
        The folder below `results/`.

    Returns
    -------
    dict or None
        One key for each JSON file of the folder (`metrics`, `manifest`, …), None where there is no
        such folder.
    """
    folder = REFERENCE_RESULTS / profile
    files = sorted(folder.glob("*.json"))
    if not files:
        return None
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def is_drawn(table: pd.DataFrame) -> bool:
    """Return whether the cells of an image table are drawn: all of them come from the demo."""
    return set(table["source"]) == {"demo"}


def drawn_note(table: pd.DataFrame) -> Markdown:
    """Return the note that says whether the cells of an image table are drawn or photographed.

    Parameters
    ----------
    table : pandas.DataFrame
        An image table with a `source` column.

    Returns
    -------
    IPython.display.Markdown
    """
    from IPython.display import Markdown

    if is_drawn(table):
        text = (
            "**The cells are drawn.** This run used the demo: every cell below was drawn by "
            "`hv_utils.drawn`, none was photographed. Its figures show how the methods behave; "
            "they say nothing about blood."
        )
    else:
        text = (
            "**The cells are photographed.** This run used real images of stained smears. "
            "Its figures hold for this data set; nothing here is for diagnosis."
        )
    return Markdown(f"> {text}")
