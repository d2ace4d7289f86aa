"""Training on standard views: even draws, random stain, and a training that goes on."""

import json

import numpy as np
import pandas as pd
import pytest

from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.finder import find_cells
from hv_utils.fields.view import VIEW_SIDE, main_cell, stain_levels, standard_view
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.network import travelling
from hv_utils.network.restaining import augmented
from hv_utils.network.travelling import ViewTraining, draw_rows, mean_of, rate_at, train
from hv_utils.network.travelling_export import largest_areas
from hv_utils.network.views import STORE_SIDE, Views, middle, stored_views, views_beside


@pytest.fixture(scope="module")
def view():
    image = draw_photo("eosinophil", rng=np.random.default_rng(1)).image
    finding = find_cells(image)
    return standard_view(image, finding, main_cell(finding), side=STORE_SIDE)


def test_a_variant_shows_the_cell_in_another_stain(view):
    rng = np.random.default_rng(0)
    own = stain_levels(view)
    variants = [augmented(view, rng, own, own[::-1]) for _ in range(40)]
    assert {variant.shape for variant in variants} == {(VIEW_SIDE, VIEW_SIDE, 3)}
    levels = np.array([np.median(variant[60:100, 60:100], axis=(0, 1)) for variant in variants])
    assert (levels.std(axis=0) > 10).all(), "every band varies"
    middles = [variant[40:120, 40:120].mean() for variant in variants]
    rims = [np.median(variant[[2, -3]]) for variant in variants]
    assert np.mean(np.array(middles) < np.array(rims)) > 0.8, "the cell stays in the middle"
    small = augmented(view, rng, own, own, side=96)
    assert small.shape == (96, 96, 3)


def test_what_the_network_sees_is_the_standard_view():
    image = draw_photo("monocyte", rng=np.random.default_rng(3)).image
    finding = find_cells(image)
    cell = main_cell(finding)
    stored = standard_view(image, finding, cell, side=STORE_SIDE)
    difference = np.abs(middle(stored).astype(int) - standard_view(image, finding, cell))
    assert difference.max() <= 4
    assert middle(stored, 128).shape == (128, 128, 3)


def test_laboratories_kinds_and_groups_are_drawn_evenly():
    rows = [("a", "dark", "1")] * 90 + [("a", "dark", "2")] * 10
    rows += [("a", "light", "3")] * 5 + [("b", "dark", "4")] * 40
    table = pd.DataFrame(rows, columns=["laboratory", "label", "group"])
    drawn = table.loc[draw_rows(table, 3000, np.random.default_rng(0))]
    strata = drawn.groupby(["laboratory", "label"]).size()
    assert set(strata) == {1000}
    first = drawn[(drawn["laboratory"] == "a") & (drawn["label"] == "dark")]
    assert first["group"].value_counts().to_dict() == pytest.approx({"1": 500, "2": 500}, rel=0.15)


def test_the_rate_climbs_and_falls():
    rates = [rate_at(step, 100, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_views_are_made_once_and_show_the_labelled_cell(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(5)
    pair = np.hstack([draw_photo(label, rng=rng).image for label in ("monocyte", "neutrophil")])
    Image.fromarray(pair).save(tmp_path / "pair.png")
    cells = find_cells(pair).cells
    boxed = {"path": tmp_path / "pair.png", "label": "monocyte", "part": "train", "group": "1"}
    names = ("box_xmin", "box_ymin", "box_xmax", "box_ymax")
    rows = [{**boxed, **dict(zip(names, cell.box, strict=True))} for cell in cells[:2]]
    rows.append({**boxed, **dict.fromkeys(names, -50.0)})
    table = pd.DataFrame(rows).assign(laboratory="here")
    views = stored_views({"here": table}, tmp_path / "views")
    first, second = (views.view(row) for row in range(2))
    assert np.abs(first.astype(int) - second).mean() > 5, "each box has its cell"
    assert list(views.table["boxed"]) == [True, True, False]
    assert len(views.part("train").table) == 2, "a label without its cell teaches nothing"
    (tmp_path / "pair.png").unlink()
    small = Views(views.table.assign(label="platelet"), views.arrays)
    assert largest_areas(small)["platelet"] == pytest.approx(
        views.table["nucleus_um2"].max(), abs=3
    )
    again = stored_views({"here": table}, tmp_path / "views")
    np.testing.assert_array_equal(again.view(0), first)


def test_views_beside_show_no_cell_in_the_middle(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(3)
    rows = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(draw_photo("neutrophil", rng=rng).image).save(path)
        rows.append({"path": path, "label": "neutrophil", "part": "train", "group": str(number)})
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((200, 200, 3), 230, np.uint8)).save(blank)
    rows.append({"path": blank, "label": "neutrophil", "part": "train", "group": "blank"})
    table = pd.DataFrame(rows).assign(laboratory="here")
    views = stored_views({"here": table}, tmp_path / "views")
    beside = views_beside(views, 10, seed=1)
    assert 3 <= len(beside.table) <= 6, "where no cell is known, no place is known to have none"
    assert "blank" not in set(beside.table["group"])
    middle_um = slice(STORE_SIDE // 2 - 24, STORE_SIDE // 2 + 24)  # three to each side

    def stained(shown):
        return [(shown.view(row)[middle_um, middle_um, 0] < 150).mean() for row in range(3)]

    assert max(stained(beside)) < 0.05 < 0.2 < np.mean(stained(views))
    np.testing.assert_array_equal(views_beside(views, 10, seed=1).view(0), beside.view(0))
    nowhere = Views(views.table[views.table["group"] == "blank"], views.arrays)
    with pytest.raises(HematoVisionError, match="room beside the cells of here"):
        views_beside(nowhere, 10)


def tiny(n_classes, *, size, weights, dropout, seed):
    import keras

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 8, 8, use_bias=False)(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(n_classes)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Activation("softmax")(x))


def test_the_mean_of_two_trainings_has_norms_of_its_own(monkeypatch):
    monkeypatch.setattr(travelling, "NORM_VIEWS", 8)
    array = np.random.default_rng(0).integers(0, 256, (8, STORE_SIDE, STORE_SIDE, 3), np.uint8)
    table = pd.DataFrame({"group": [*"abcdefgh"], "part": "train", "at": range(8)}).assign(
        label="a", laboratory="here", found=True, boxed=True
    )
    options = {"size": (VIEW_SIDE, VIEW_SIDE), "weights": "", "dropout": 0}
    one, other = (tiny(2, seed=seed, **options) for seed in (0, 1))
    kernels = [model.layers[2].get_weights()[0] for model in (one, other)]
    norms = one.layers[3].moving_mean.numpy()
    mean = mean_of([one, other], Views(table, {"here": array}), ViewTraining())
    np.testing.assert_allclose(mean.layers[2].get_weights()[0], np.mean(kernels, axis=0))
    assert np.abs(mean.layers[3].moving_mean.numpy() - norms).max() > 1e-3


def test_an_interrupted_training_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(travelling, "build_model", tiny)
    monkeypatch.setattr(travelling, "NORM_VIEWS", 16)
    rng = np.random.default_rng(0)
    labels = np.repeat(CLASSES, 6)
    array = rng.integers(0, 256, (24, STORE_SIDE, STORE_SIDE, 3), dtype=np.uint8)
    table = pd.DataFrame({"label": labels, "laboratory": "here", "found": True, "boxed": True})
    table = table.assign(group=np.arange(24).astype(str), part=["train", "val"] * 12)
    views = Views(table.assign(at=np.arange(24)), {"here": array})
    settings = ViewTraining(
        passes=3, images=16, batch=8, small_passes=1, small_side=64, judge_every=2
    )
    whole = train(views, CLASSES, settings, tmp_path / "whole").get_weights()

    save, stopped = travelling.Trainer.save, []

    def interrupted(trainer, path):
        save(trainer, path)
        if trainer.step == 4 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(travelling.Trainer, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(views, CLASSES, settings, tmp_path / "parts")
    resumed = train(views, CLASSES, settings, tmp_path / "parts").get_weights()
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    history = json.loads((tmp_path / "parts" / "history.json").read_text())
    assert [row["pass"] for row in history] == [1, 2, 3]
    assert "here_macro_f1" in history[-1]
