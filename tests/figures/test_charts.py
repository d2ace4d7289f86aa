import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from hv_utils.figures import charts, pictures
from hv_utils.figures.palette import markers, palette
from hv_utils.ground.errors import HematoVisionError

CLASSES = ["eosinophil", "lymphocyte", "monocyte", "neutrophil"]


class Box:
    def __init__(self, name, xmin, ymin, xmax, ymax):
        self.name, self.xmin, self.ymin, self.xmax, self.ymax = name, xmin, ymin, xmax, ymax


def image(seed=0, shape=(24, 32, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def words(fig):
    """Every word that a reader of the figure sees."""
    fig.draw_without_rendering()
    return [text.get_text() for text in fig.findobj(Text) if text.get_text()]


def nothing_clipped(fig):
    """Whether every axis label and title lies inside the page."""
    fig.draw_without_rendering()
    page = fig.bbox.padded(2)
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    return all(
        page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes
    )


def test_every_class_has_one_colour_and_one_marker_whatever_its_company():
    assert palette(CLASSES)["monocyte"] == palette(["monocyte"])["monocyte"]
    many = palette([*CLASSES, *(f"class {i}" for i in range(12))])
    assert len(set(many.values())) == 16
    assert len(set(markers(CLASSES).values())) == 4


def test_colours_stay_apart_for_colour_blind_eyes():
    # Deuteranopia after Viénot et al. (1999), on linear RGB.
    matrix = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    seen = [matrix @ np.array(to_rgb(c)) ** 2.2 for c in palette(CLASSES).values()]
    for i, first in enumerate(seen):
        for second in seen[i + 1 :]:
            assert np.linalg.norm(first.clip(0) ** 0.45 - second.clip(0) ** 0.45) > 0.12


def test_class_counts_write_each_count():
    table = pd.DataFrame(
        {"label": ["a"] * 3 + ["b"] * 1500, "split": ["train"] * 2 + ["val"] * 1501}
    )
    shown = words(charts.class_counts(table))
    assert {"2", "1", "0", "1,500", "train", "val", "a", "b"} <= set(shown)


def test_image_grid_has_a_title_for_each_image():
    fig = pictures.image_grid([image(i) for i in range(5)], list("vwxyz"), columns=3)
    assert set("vwxyz") <= set(words(fig))
    assert len([ax for ax in fig.axes if ax.images]) == 5
    with pytest.raises(HematoVisionError, match="at least one image"):
        pictures.image_grid([])


def test_boxes_are_drawn_where_they_are():
    boxes = [Box("WBC", 2, 3, 20, 15), Box("RBC", 0, 0, 5, 6), Box("RBC", 9, 9, 12, 14)]
    fig = pictures.photo_with_boxes(image(), boxes, title="photo 00001")
    patch = fig.axes[0].patches[0]
    assert (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()) == (2, 3, 18, 12)
    assert {"WBC (1)", "RBC (2)", "photo 00001"} <= set(words(fig))


def test_training_curves_mark_the_phases():
    history = pd.DataFrame(
        {
            "phase": ["head"] * 2 + ["fine_tune"] * 2,
            "loss": [4.0, 3, 2, 1],
            "val_loss": [4, 3, 3, 3],
        }
    )
    shown = words(charts.training_curves(history))
    assert {"head", "fine tune", "loss", "training", "validation"} <= set(shown)
    with pytest.raises(HematoVisionError, match="loss or accuracy"):
        charts.training_curves(pd.DataFrame({"x": [1]}))


def test_bars_write_values_and_draw_the_reference():
    fig = charts.bars(
        {"a": 0.5, "b": 0.25},
        xlabel="share",
        intervals={"a": (0.4, 0.6)},
        reference=0.3,
        reference_label="chance",
    )
    assert {"0.50", "0.25", "chance", "share"} <= set(words(fig))


def test_gallery_marks_right_and_wrong_in_words_as_well():
    fig = pictures.prediction_gallery(
        [image(), image(1), image(2)],
        ["monocyte", "monocyte", None],
        [0.987, 0.5, np.nan],
        ["monocyte", "neutrophil", "monocyte"],
        status=["ok", "unsure", "unreadable"],
    )
    shown = " | ".join(words(fig))
    assert "✓ monocyte 99 %" in shown
    assert "✗ monocyte 50 %\n(unsure)\ntrue: neutrophil" in shown
    assert "no verdict\n(unreadable)" in shown


def test_before_after_and_gradcam_take_the_packages_arrays():
    fig = pictures.before_after([image()], [[image(1).astype("float32") + 0.4]], titles=["cell"])
    assert {"cell, before", "after"} <= set(words(fig))
    heat = np.zeros((7, 7), "float32")
    mask = np.zeros((24, 32), bool)
    mask[5:9, 5:9] = True
    fig = pictures.gradcam_panel([image()], [heat], [image()], ["one"], masks=[mask])
    assert {"one", "heat map", "overlay, cell outlined"} <= set(words(fig))
    assert "overlay" in words(pictures.gradcam_panel([image()], [heat], [image()], ["one"]))


def test_histograms_with_and_without_groups():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"brightness": rng.normal(120, 9, 60), "label": CLASSES * 15})
    assert set(CLASSES) <= set(words(charts.histograms(table, "brightness", xlabel="x")))
    assert "y" in words(charts.histograms(table, "brightness", by=None, xlabel="y"))


def test_as_uint8_clips_and_rounds():
    assert pictures.as_uint8(np.array([-3.0, 0.6, 300.0])).tolist() == [0, 1, 255]


def test_figures_are_closed_so_that_a_notebook_shows_them_once():
    before = plt.get_fignums()
    fig = charts.bars({"a": 1.0}, xlabel="x")
    assert isinstance(fig, Figure)
    assert plt.get_fignums() == before
    assert nothing_clipped(fig)


def test_labels_of_long_names_are_not_clipped():
    fig = charts.bars({"a very long name of a method indeed": 1.0, "b": -0.5}, xlabel="x")
    assert nothing_clipped(fig)
    low, high = fig.axes[0].get_xlim()
    assert low <= -0.5
    assert high > 1
