"""The steps: what a notebook depends on is found in its own source."""

from hv_utils.chain import steps
from hv_utils.chain.steps import used_modules


def test_used_modules_follow_imports(tmp_path, write_notebook):
    source = "%matplotlib inline\nfrom hv_utils import pipeline"
    names = {path.stem for path in used_modules(write_notebook(tmp_path / "a.ipynb", "", source))}
    assert {"pipeline", "parameters", "runs", "errors"} <= names
    source = "from hv_utils.ground.runs import Run"
    names = {path.stem for path in used_modules(write_notebook(tmp_path / "b.ipynb", "", source))}
    assert names == {"runs", "errors"}


def test_published_numbers_are_an_input_of_the_notebooks_that_show_them():
    """A new recorded run must reach the pages of a run that is otherwise up to date."""
    notebooks = {step.name: steps.published_inputs(step.notebook) for step in steps.STEPS}
    names = {step: {path.name for path in paths} for step, paths in notebooks.items()}
    assert "metrics.json" in names["04_evaluation"]
    assert "kaggle-sources.csv" in names["01_data"]
    assert not names["03_model"]
