import numpy as np
import pandas as pd
import pytest
from test_charts import nothing_clipped, words

from fake_predictions import CLASSES, predictions
from hv_utils.figures import score_figures
from hv_utils.ground.predictions import from_predictions
from hv_utils.scores.calibration import reliability_table
from hv_utils.scores.intervals import leave_one_cell_out
from hv_utils.scores.metrics import headline_table, per_cell, score


@pytest.fixture(scope="module")
def result():
    """Scores of one small table of predictions, with the arrays behind them."""
    table = predictions()
    index, probs, _, _ = from_predictions(table)
    return {"table": table, "index": index, "probs": probs, **score(table, n_resamples=100)}


def test_confusion_writes_counts_and_shares(result):
    fig = score_figures.confusion([[3, 1], [0, 0]], ["a", "b"])
    assert {"3\n75 %", "1\n25 %", "0\n0 %", "true", "predicted"} <= set(words(fig))
    fig = score_figures.confusion(result["confusion_matrix"], CLASSES)
    assert set(CLASSES) <= set(words(fig))
    assert nothing_clipped(fig)


def test_class_scores_write_each_value(result):
    macro = {name: result[f"macro_{name}"] for name in ("precision", "recall", "f1")}
    fig = score_figures.class_scores(result["per_class"], macro=macro)
    assert f"{result['per_class']['monocyte']['f1']:.2f}" in words(fig)
    assert {"precision", "recall", "F1", "mean of the classes"} <= set(words(fig))
    assert nothing_clipped(fig)


@pytest.mark.parametrize("draw", [score_figures.roc_curves, score_figures.precision_recall_curves])
def test_curves_name_each_class_with_its_area(result, draw):
    fig = draw(result["index"], result["probs"], CLASSES)
    shown = words(fig)
    assert all(any(text.startswith(f"{name} (a") for text in shown) for name in CLASSES)
    assert nothing_clipped(fig)


def test_curves_leave_out_a_class_without_images(result):
    keep = result["index"] != 2
    fig = score_figures.roc_curves(result["index"][keep], result["probs"][keep], CLASSES)
    assert not any(text.startswith("monocyte") for text in words(fig))


def test_reliability_draws_full_bins_by_their_images_and_joins_none(result):
    table = reliability_table(result["index"], result["probs"])
    fig = score_figures.reliability({"before": table, "after": table})
    assert {"before", "after", "calibrated"} <= set(words(fig))
    assert [line.get_label() for line in fig.axes[0].lines] == ["calibrated"]
    marks = fig.axes[0].collections[0]
    full = table["n"][table["n"] > 0]
    assert len(marks.get_offsets()) == len(full)
    assert list(np.argsort(marks.get_sizes())) == list(np.argsort(full))


def test_intervals_are_drawn_from_low_to_high(result):
    rows = headline_table(result)
    fig = score_figures.score_intervals(rows, reference=0.91, reference_label="claimed")
    assert {"per image", "per cell", "claimed", "macro-F1"} <= set(words(fig))
    segments = fig.axes[0].collections[0].get_segments()
    assert segments[0][:, 0] == pytest.approx(rows.loc[0, ["low", "high"]].to_numpy(float))
    assert nothing_clipped(fig)


def test_intervals_may_be_missing():
    row = {"name": "accuracy", "level": "per image", "value": 0.5, "low": None, "high": None}
    assert "accuracy" in words(score_figures.score_intervals(pd.DataFrame([row])))


def test_cell_strip_names_the_worst_cells(result):
    cells = per_cell(result["table"])
    wrong = cells["n_images"] * (1 - cells["share_right"])
    fig = score_figures.cell_strip(cells, name_worst=2)
    named = [text for text in words(fig) if text.endswith("(10)")]
    assert len(named) == 2
    assert named[0].split()[0] in set(cells.loc[wrong >= wrong.nlargest(2).min(), "cell"])
    assert sum(len(c.get_offsets()) for c in fig.axes[0].collections) == len(cells)


def test_cell_strip_of_a_faultless_run_names_none_and_hides_no_cell(result):
    cells = pd.concat([per_cell(result["table"])] * 5, ignore_index=True).assign(share_right=1.0)
    fig = score_figures.cell_strip(cells)
    assert not [text for text in words(fig) if text.endswith("(10)")]
    places = np.vstack([np.asarray(marks.get_offsets()) for marks in fig.axes[0].collections])
    assert len(np.unique(places.round(6), axis=0)) == len(cells)


def test_influence_writes_signed_changes(result):
    table = leave_one_cell_out(result["table"])
    fig = score_figures.influence(table, n=3)
    assert f"{table['change'].iloc[0]:+.3f}" in words(fig)
    assert np.sign(fig.axes[0].patches[0].get_width()) == np.sign(table["change"].iloc[0])
    assert nothing_clipped(fig)
