"""What is taken from a picture is gone, and nothing else is."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hv_utils.scores import paired
from hv_utils.studies import ingredients

SIZE = (30, 40)


@pytest.fixture
def table(tmp_path):
    """Draw fields of 40 x 60 with a box of another colour in each, left for `a`, right for `b`."""
    rng, rows = np.random.default_rng(0), []
    for number in range(24):
        label = "ab"[number % 2]
        pixels = np.full((60, 80, 3), (200, 180, 220), np.uint8)
        left = 10 + 40 * (label == "b")
        pixels[20:40, left : left + 20] = rng.integers(0, 120, 3)
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        box = {"xmin": left, "ymin": 20, "xmax": left + 20, "ymax": 40}
        cell = f"c{number}"
        rows.append({"path": str(path), "label": label, "cell": cell, "group": cell, **box})
    return pd.DataFrame(rows).assign(width=80, height=60)


def test_each_view_lacks_what_it_should(table):
    views = ingredients.views_of(table, size=SIZE)
    inside = ingredients.inside_boxes(table, SIZE)
    assert inside.sum(axis=(1, 2)).tolist() == [12 * 12] * len(table)
    whole, ground = views[ingredients.WHOLE], np.array([200, 180, 220])
    assert (views[ingredients.WITHOUT_CELL] == ground).all(), "nothing of the cell is left"
    alone = views[ingredients.CELL_ALONE]
    assert (alone[~inside] == ground).all()
    assert (alone[inside] == whole[inside]).all()
    grey = views[ingredients.GREY].astype(int)
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[~inside] - (0.299 * 200 + 0.587 * 180 + 0.114 * 220)).max() <= 1


def test_without_boxes_the_cell_cannot_be_painted_over(table):
    table.loc[3, "xmin"] = np.nan
    for rows in (table, table.drop(columns=ingredients.BOX)):
        assert list(ingredients.views_of(rows, size=SIZE)) == [
            ingredients.WHOLE,
            ingredients.GREY,
        ]


def test_a_probe_loses_what_the_picture_has_lost(table):
    """Where the box stands tells the class: without it there is nothing to tell it by."""
    views = ingredients.views_of(table, size=SIZE)
    features = {
        name: images.mean(axis=(1, 3)) + np.random.default_rng(1).normal(size=(len(table), 40))
        for name, images in views.items()
    }
    held = ingredients.compare_ingredients(
        table, features, ["a", "b"], n_repeats=2, n_folds=3, seed=0
    )
    scores = paired.compare(held).query("score == 'macro_f1'").set_index("condition")["value"]
    assert scores[ingredients.WHOLE] == scores[ingredients.GREY] == 1
    assert scores[ingredients.WITHOUT_CELL] < 0.8


@pytest.mark.slow
def test_random_weights_give_other_features(table):
    features = ingredients.altered_features(table.head(4), size=(32, 32), seed=1)
    assert {values.shape for values in features.values()} == {(4, 1280)}
    assert list(features)[-1] == ingredients.RANDOM
    assert np.abs(features[ingredients.RANDOM] - features[ingredients.WHOLE]).max() > 0.1
