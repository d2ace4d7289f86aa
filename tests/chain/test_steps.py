"""The steps: what a notebook depends on is found in its own source."""

from hv_utils.chain.steps import STEPS, files_beside, used_modules


def test_used_modules_follow_imports(tmp_path, write_notebook):
    source = "%matplotlib inline\nfrom hv_utils.chain import pipeline"
    names = {path.stem for path in used_modules(write_notebook(tmp_path / "a.ipynb", "", source))}
    assert {"pipeline", "parameters", "runs", "errors"} <= names
    source = "from hv_utils.ground.runs import Run"
    names = {path.stem for path in used_modules(write_notebook(tmp_path / "b.ipynb", "", source))}
    assert names == {"runs", "errors", "files", "locks"}


def test_what_a_notebook_reads_beside_its_run_is_an_input():
    """New published numbers and weights must reach a run that is otherwise up to date."""
    values = {"03_model": {"weights": "lite0"}}
    names = {
        step.name: {path.name for path in files_beside(step.notebook, values.get(step.name, {}))}
        for step in STEPS
    }
    assert "metrics.json" in names["04_evaluation"]
    assert "kaggle-sources.csv" in names["01_data"]
    assert {"kaggle-overlaps.csv", "predictions-val.csv", "bench.json"} <= names["11_home_model"]
    assert names["02_preprocessing"] == names["03_model"] == {"lite0.json"}
    assert "lite0.json" in names["07_leak"]


def test_a_table_of_groups_is_an_input_and_a_pattern_is_none(tmp_path):
    notebook = STEPS[0].notebook
    (tmp_path / "groups.csv").touch()
    named = {"groups": str(tmp_path / "groups.csv")}
    assert tmp_path / "groups.csv" in files_beside(notebook, named)
    assert files_beside(notebook, {"groups": "^([^_]+)_"}) == files_beside(notebook, {})


def test_start_weights_are_an_input(tmp_path):
    notebook = next(step.notebook for step in STEPS if step.name == "03_model")
    found = {path.name for path in files_beside(notebook, {"weights": "hematovision"})}
    assert "hematovision.onnx.json" in found
    (tmp_path / "model.keras").touch()
    own = {"weights": str(tmp_path / "model.keras")}
    assert tmp_path / "model.keras" in files_beside(notebook, own)
