"""What a laboratory teaches, and what it hides: probes taught by one, by another, by both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from hv_utils.fields.finder import find_cells
from hv_utils.fields.stain import ground_colour, inside_border, optical_density
from hv_utils.fields.view import GROUND, VIEW_SIDE, in_hue, main_cell, standard_view
from hv_utils.images.reading import resize
from hv_utils.inference.onnx_model import INPUT, facts_path, open_session
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.inference.preparation import HUE
from hv_utils.network.onnx_graph import write_graph
from hv_utils.network.weights import lite0_weights
from hv_utils.scores.bootstrap import in_words

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SIZE = (VIEW_SIDE, VIEW_SIDE)
WAYS = ("resized", "found", "and neutral ground", "and one hue")
# Another buffer, another lamp, another camera: mixes of optical densities, a yellow ground.
FOREIGN_STAIN = np.array([[0.6, 0.3, 0.0], [0.0, 1.1, 0.2], [0.1, 0.0, 0.8]], np.float32)
FOREIGN_GROUND, FOREIGN_ZOOM = np.array([236, 226, 180], np.float32), 0.6


def foreign(image: np.ndarray) -> np.ndarray:
    """Return a picture as another laboratory would have stained and photographed it.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8

    Returns
    -------
    numpy.ndarray, shape (0.6 H, 0.6 W, 3), uint8
    """
    ground = ground_colour(image, inside_border(image))
    density = cv2.transform(optical_density(image, ground), FOREIGN_STAIN)
    light = np.exp(-density) * FOREIGN_GROUND
    small = cv2.resize(light, None, fx=FOREIGN_ZOOM, fy=FOREIGN_ZOOM, interpolation=cv2.INTER_AREA)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


@cache
def usual_hue() -> list[float]:
    """Return the hue of the nuclear stain that the travelling model has learnt."""
    return json.loads(facts_path(TRAVELLING_MODEL).read_text(encoding="utf-8"))[HUE]


def prepared(image: np.ndarray) -> list[np.ndarray]:
    """Prepare a picture in each of `WAYS`.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8

    Returns
    -------
    list of numpy.ndarray
        Each of shape (160, 160, 3), uint8: the whole picture resized; the main cell at the standard
        scale; so with a neutral ground; and with the nuclear stain in one hue. Without a cell, the
        first each time.
    """
    whole = resize(image, SIZE)
    finding = find_cells(image)
    cell = main_cell(finding)
    if cell is None:
        return [whole] * len(WAYS)
    as_it_is = replace(finding, ground=np.full(3, GROUND, np.float32))
    view = standard_view(image, finding, cell)
    return [whole, standard_view(image, as_it_is, cell), view, in_hue(view, usual_hue())]


def features_of(images: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the features, float32 (N, 1280), of pictures prepared in each of `WAYS`.

    The network is EfficientNet-Lite0 as trained on ImageNet, which has seen no laboratory.
    """
    graph = write_graph(lite0_weights(), size=SIZE, activation="relu6")
    session = open_session(graph.SerializeToString())
    found = [session.run(None, {INPUT: np.stack(prepared(image))})[0] for image in images]
    return dict(zip(WAYS, np.stack(found, axis=1), strict=True))


def probe(features: np.ndarray, labels: Sequence[str]) -> Pipeline:
    """Fit a logistic regression on features (N, D), scaled to length 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    model = make_pipeline(Normalizer(), LogisticRegression(C=100, max_iter=2000))
    return model.fit(features, labels)


def leave_one_out_table(scores: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Lay out macro-F1 with intervals: a row for each preparation and teacher, a column a set.

    Parameters
    ----------
    scores : sequence of mapping
        `prepared`, `taught`, `judged`, `macro_f1`, and `low` and `high` where there are intervals.
    """
    rows = pd.DataFrame(scores, columns=["prepared", "taught", "judged", "macro_f1", "low", "high"])
    rows["words"] = [
        in_words(row, key="macro_f1") if row["low"] == row["low"] else f"{row['macro_f1']:.2f}"
        for row in rows.to_dict("records")
    ]
    order = {name: list(dict.fromkeys(rows[name])) for name in ("prepared", "taught", "judged")}
    table = rows.pivot_table("words", ["prepared", "taught"], "judged", aggfunc="first")
    index = pd.MultiIndex.from_product(
        [order["prepared"], order["taught"]], names=["", "taught by"]
    )
    return table.reindex(index=index, columns=order["judged"]).rename_axis(columns="judged on")


def models_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the measured models: macro-F1, share *ok* and right among these, set by set."""
    rows = [
        {
            "model": name,
            "judged on": judged,
            "pictures": one["four"]["n_images"],
            "groups": one["four"]["n_cells"],
            "four kinds": in_words({"value": one["four"]["macro_f1"], **one["four"]["interval"]}),
            "all kinds": in_words({"value": one["all"]["macro_f1"], **one["all"]["interval"]})
            if "all" in one
            else "",
            "ok": f"{one['ok']['share']:.0%}",
            "right of ok": f"{one['right of ok']['share']:.0%}"
            if one["right of ok"]["share"] is not None
            else "",
        }
        for name, model in found.get("models", {}).items()
        for judged, one in model["sets"].items()
    ]
    return pd.DataFrame(rows).set_index(["model", "judged on"]) if rows else pd.DataFrame()


def labels_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return what labels are worth: `set`, `labels`, `mean`, `min` and `max` of macro-F1."""
    rows = pd.DataFrame(found.get("scores", []), columns=["set", "labels", "macro_f1"])
    return rows.groupby(["set", "labels"])["macro_f1"].agg(["mean", "min", "max"]).reset_index()
