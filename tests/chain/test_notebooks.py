"""The contracts of the notebooks, checked on their source; and the chain on the smoke profile."""

import ast
import json
import os
import re
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import ONE_PROCESS, ROOT, WITH_PACKAGE
from hv_utils.chain import parameters, steps
from hv_utils.chain.book_stage import stage
from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.runs import Run
from hv_utils.images.labels import CLASSES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "book" / "solutions").glob("[0-9]*.md"))
COLUMNS = 79  # what a cell of the book holds at 1280 pixels without scrolling
CHECKED = "all checks passed"
NO_LESSON = re.compile(  # imports, drawing, sentences, and what is kept
    r"(?m)^(?:import|from) |\b(?:write_figure|write_json|glue|Markdown)\("
)
PARAMETER = re.compile(r"(\w+): (int|float|str|bool|list) = (.+?)  # (\S.+)")


def read(path):
    return nbformat.read(path, as_version=4)


def parameters_cell(notebook):
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1, "one cell is tagged parameters"
    return tagged[0]


def test_every_notebook_is_a_step_and_every_step_a_notebook():
    assert [path.stem for path in NOTEBOOKS] == [step.name for step in steps.STEPS]
    assert [path.stem for path in SOLUTIONS] == [
        path.stem for path in NOTEBOOKS if "## Exercises" in path.read_text()
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestContract:
    def test_is_committed_without_outputs(self, path):
        for cell in read(path).cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None

    def test_parameters_are_literals_with_type_and_help(self, path):
        lines = parameters_cell(read(path)).source.strip().splitlines()
        names = []
        for line in lines:
            match = PARAMETER.fullmatch(line)
            assert match, f"expected `name: type = literal  # help`, got {line!r}"
            name, kind, literal, _ = match.groups()
            assert type(ast.literal_eval(literal)).__name__ == kind, line
            names.append(name)
        assert "run_dir" in names
        assert "seed" in names

    def test_opens_with_what_one_learns_and_closes_with_checks(self, path):
        cells = read(path).cells
        assert cells[0].source.startswith("# ")
        assert "What you will learn" in cells[0].source
        assert cells[-2].source.rstrip().endswith("## Checks")
        assert cells[-1].source.count("assert ") >= 2
        assert "hide" not in str(cells[-1].metadata.get("tags", []))

    def test_exercises_have_solutions(self, path):
        text = "\n".join(cell.source for cell in read(path).cells)
        if path.stem == "10_claims":
            return
        exercises = re.findall(r"\{admonition\} (Exercise \d)", text)
        assert len(exercises) >= 2
        solutions = (ROOT / "book" / "solutions" / f"{path.stem}.md").read_text()
        for exercise in exercises:
            assert f"## {exercise}" in solutions
        assert f"../book/solutions/{path.stem}.md" in text

    def test_figures_have_alt_text_and_a_caption(self, path):
        for cell in read(path).cells:
            draws = cell.cell_type == "code" and re.search(
                r"\b(charts|pictures|score_figures)\.\w+\(|plt\.subplots", cell.source
            )
            if draws:
                about = cell.metadata.get("mystnb", {})
                assert len(about.get("image", {}).get("alt", "")) > 20, cell.source[:200]
                assert len(about.get("figure", {}).get("caption", "")) > 20, cell.source[:200]

    def test_cells_are_short(self, path):
        for cell in read(path).cells:
            if cell.cell_type == "code":
                open_to_all = "hide-input" not in cell.metadata.get("tags", [])
                limit = 36 if open_to_all and CHECKED not in cell.source else 64
                assert len(cell.source.splitlines()) <= limit, cell.source[:200]

    def test_lines_fit_a_cell_of_the_book(self, path):
        code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
        assert not [line for source in code for line in source.splitlines() if len(line) > COLUMNS]

    def test_code_without_a_lesson_is_folded(self, path):
        for cell in read(path).cells:
            if cell.cell_type == "code" and CHECKED not in cell.source:
                folded = "hide-input" in cell.metadata.get("tags", [])
                assert folded == bool(NO_LESSON.search(cell.source)), cell.source[:200]


def test_the_code_of_solutions_fits_as_well():
    blocks = [re.findall(r"(?ms)^```python\n(.*?)^```", path.read_text()) for path in SOLUTIONS]
    lines = [line for found in blocks for block in found for line in block.splitlines()]
    assert len(lines) > 100
    assert not [line for line in lines if len(line) > COLUMNS]


@pytest.mark.parametrize("name", parameters.profile_names())
def test_profiles_set_declared_parameters_of_the_right_type(name):
    values = parameters.read_profile(name)
    parameters.validate(values, [step.notebook for step in steps.STEPS])


def quoted() -> set[tuple[str, str]]:
    """Return (notebook, key) of every number that the pages quote."""
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")]
    role = re.compile(r"\{glue:\w*\}`[./]*notebooks/(\w+)\.ipynb::(\w+)")
    return {found for page in pages for found in role.findall(page)}


def glued(run: Run) -> set[tuple[str, str]]:
    """Return (notebook, key) of every number that a run has glued."""
    notebooks = {path.stem: read(path).cells for path in run.path("notebooks").glob("*.ipynb")}
    return {
        (name, output.metadata.scrapbook.name)
        for name, cells in notebooks.items()
        for cell in cells
        for output in cell.get("outputs", [])
        if "scrapbook" in output.get("metadata", {})
    }


@pytest.fixture(scope="session")
def solutions(smoke, tmp_path_factory) -> dict[str, list[str]]:
    """Run the blocks of all solutions, in one process; return the tracebacks of each page.

    Each block runs by itself, given `run`; the block that opens a run is left out.
    """
    blocks = {
        path.stem: [
            block
            for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.S | re.M)
            if "Run.open(" not in block
        ]
        for path in SOLUTIONS
    }
    assert all(blocks.values()), "every page of solutions has code to run"
    folder = tmp_path_factory.mktemp("solutions")
    (folder / "blocks.json").write_text(json.dumps(blocks))
    command = [sys.executable, "-c", RUN_BLOCKS, smoke.folder, folder]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "failed.json").read_text())


RUN_BLOCKS = """
import json, pathlib, sys, traceback
from hv_utils.ground.runs import Run
folder = pathlib.Path(sys.argv[2])
failed = {}
for page, blocks in json.loads((folder / "blocks.json").read_text()).items():
    failed[page] = []
    for block in blocks:
        try:
            exec(block, {"run": Run.open(sys.argv[1])})
        except Exception:
            failed[page].append(block + traceback.format_exc())
(folder / "failed.json").write_text(json.dumps(failed))
"""


@pytest.mark.slow
@pytest.mark.xdist_group("smoke")
class TestSmokeRun:
    def test_makes_what_the_design_says(self, smoke):
        for step in steps.STEPS:
            for name in step.writes:
                assert smoke.path(name).exists(), name
        manifest = smoke.manifest
        assert set(manifest["seconds"]) == {step.name for step in steps.STEPS}
        assert set(manifest["steps"]) == set(manifest["seconds"])
        assert {"git_commit", "packages", "machine", "seed", "data"} <= set(manifest)
        assert not list(smoke.folder.rglob("*.part*")), "half-written files"

    def test_tables_keep_their_columns(self, smoke):
        images = smoke.read_table("images.csv")
        assert {"path", "label", "split", "cell", "source"} <= set(images.columns)
        predictions = smoke.read_table("predictions.csv")
        classes = sorted(images["label"].unique())
        assert list(predictions.columns) == [
            "path",
            "label",
            "cell",
            *(f"prob_{name}" for name in classes),
            "predicted",
        ]
        assert set(predictions["path"]) == set(images.loc[images["split"] == "test", "path"])

    def test_metrics_keep_their_keys_and_agree_with_the_predictions(self, smoke):
        metrics = smoke.read_json("metrics.json")
        predictions = smoke.read_table("predictions.csv")
        right = (predictions["label"] == predictions["predicted"]).mean()
        assert metrics["accuracy"] == pytest.approx(right)
        assert metrics["n_images"] == len(predictions)
        assert metrics["n_cells"] == predictions["cell"].nunique()
        assert metrics["classes"] == sorted(metrics["classes"])
        table = pd.crosstab(predictions["label"], predictions["predicted"])
        table = table.reindex(index=metrics["classes"], columns=metrics["classes"], fill_value=0)
        assert metrics["confusion_matrix"] == table.to_numpy().tolist()
        for key in ("macro_f1", "balanced_accuracy", "per_class"):
            assert key in metrics

    def test_no_source_photo_is_on_two_sides(self, smoke):
        images = smoke.read_table("images.csv")
        used = images[images["split"] != "unplaced"].replace({"split": {"simple": "test"}})
        assert (used.groupby("group")["split"].nunique() == 1).all()
        assert len(used) < len(images), "copies of a field that TEST shows are set aside"

    def test_glues_every_number_that_the_pages_quote(self, smoke):
        assert len(quoted()) > 50
        assert quoted() <= glued(smoke)

    def test_runs_again_in_a_moment(self, smoke):
        command = [sys.executable, "-m", "hv_utils.cli", "run", "--profile", "smoke"]
        result = subprocess.run(
            [*command, "--run", smoke.folder], capture_output=True, text=True, cwd=ROOT
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("up to date") == len(steps.STEPS)

    @pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: path.stem)
    def test_solution_runs(self, solutions, solution):
        assert solutions[solution.stem] == []

    def test_one_notebook_by_hand(self, smoke, tmp_path):
        """A plain papermill call does what the chain does."""
        output = tmp_path / "out.ipynb"
        notebook = ROOT / "notebooks" / "10_claims.ipynb"
        before = smoke.path("claims.csv").read_text()
        smoke.path("claims.csv").unlink()
        command = [sys.executable, "-m", "papermill", notebook, output, "-p", "run_dir"]
        result = subprocess.run([*command, smoke.folder], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-2000:]
        assert smoke.path("claims.csv").read_text() == before

    def test_prediction_from_the_command_line(self, smoke, tmp_path):
        images = smoke.read_table("images.csv")
        paths = list(images.loc[images["split"] == "test", "path"].head(3))
        broken = tmp_path / "broken.png"
        broken.write_text("no image")
        table = tmp_path / "verdicts.csv"
        command = [sys.executable, "-m", "hv_utils.cli", "predict", *paths, broken]
        command += ["--model", smoke.path("model.onnx"), "--csv", table]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert result.returncode == 1, "a file that cannot be read shows in the exit status"
        assert result.stderr.strip().splitlines()[-1].startswith("hv: expected")
        verdicts = pd.read_csv(table, keep_default_na=False)
        assert verdicts["status"].iloc[3] == "unreadable"
        expected = smoke.read_table("predictions.csv").set_index("path").loc[paths]
        told = verdicts[:3][verdicts["status"][:3] != "not_a_cell"]
        assert list(told["predicted"]) == list(expected.loc[told["path"], "predicted"])


@pytest.mark.slow
def test_a_folder_of_ones_own_goes_through_the_chain(tmp_path):
    """Own images have no photos, boxes or known cells: every notebook must do without."""
    for label in CLASSES[:3]:
        folder = tmp_path / "mine" / label
        folder.mkdir(parents=True)
        for number in range(20):
            photo = draw_photo(label, rng=np.random.default_rng(number)).image
            Image.fromarray(photo).resize((160, 120)).save(folder / f"{number}.png")
    (folder / "broken.png").write_text("no image")
    command = [*ONE_PROCESS, "run", "--profile", "smoke", "--run", tmp_path / "run"]
    command += ["-p", "source", "folder", "-p", "folder", "mine"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=WITH_PACKAGE)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    run = Run(tmp_path / "run")
    assert run.read_json("metrics.json")["classes"] == list(CLASSES[:3])
    assert len(run.read_table("claims.csv")) > 5
    # And its book is built without what such a folder cannot have.
    assert quoted() <= glued(run)
    index = stage(run, tmp_path / "stage") / "book" / "index.md"
    assert "No picture here: `01_data` draws contact-sheet.png" in index.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_declares_is_what_papermill_finds(path):
    from papermill import inspect_notebook

    ours, theirs = parameters.declared(path), inspect_notebook(str(path))
    assert list(ours) == list(theirs)
    for name, facts in ours.items():
        assert facts == {key: theirs[name][key] for key in facts}, name
