"""The published measurements of the home model, as the tables that the book shows.

Scripts made them on the real data, once; `results/README.md` says which made what. A table whose
measurement is missing is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hv_utils.data.overlaps import group_photos
from hv_utils.ground.predictions import from_predictions
from hv_utils.ground.runs import REFERENCE_RESULTS, reference_results
from hv_utils.scores.bootstrap import in_words
from hv_utils.scores.intervals import bootstrap_interval
from hv_utils.scores.metrics import per_cell, point_scores
from hv_utils.scores.verdicts import CONFIRMED, REFUTED, UNDECIDED

# Doubtful to the eye and contradicted by every model tried: eosinophil, neutrophil, monocyte.
DOUBTFUL_TEST_CELLS = ("00093", "00082", "00110")
SHIPPED_RUN = "native"  # below results/
WORDS = {CONFIRMED: "better", REFUTED: "worse", UNDECIDED: "undecided"}
STATUS_COLUMNS = ("n", "ok", "unsure", "not_a_cell")


def measurement(name: str, *, folder: Path = REFERENCE_RESULTS) -> dict[str, Any]:
    """Return what `results/<name>.json` holds; an empty dict where it is not there."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def recorded_predictions(
    name: str, *, split: str = "test", folder: Path = REFERENCE_RESULTS
) -> pd.DataFrame:
    """Return a recorded run's verdicts on the official TEST, or on its validation images (`val`).

    Empty where the record is not there.
    """
    path = folder / name / ("predictions-val.csv" if split == "val" else "predictions.csv")
    return pd.read_csv(path, dtype={"cell": "string"}) if path.is_file() else pd.DataFrame()


def recorded_artefacts(name: str) -> dict[str, Any]:
    """Return the numbers of a recorded run, as `claims.judge_all` takes them.

    The intervals are computed anew from the recorded verdicts: a record may be older than one of
    the scores. Empty where the record is not there.
    """
    found = reference_results(name) or {}
    verdicts = recorded_predictions(name)
    if found and len(verdicts):
        found["metrics"]["intervals"] = bootstrap_interval(verdicts, ranking=False)
    return found


def twins_as_one(predictions: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Give photographs that show the same cell one name in the column `cell`.

    Parameters
    ----------
    predictions : DataFrame
        From `recorded_predictions`.
    pairs : DataFrame
        From `overlaps.read_overlaps`.

    Returns
    -------
    DataFrame
        A copy; the pairs' two labels may differ, then they stay two.
    """
    label = predictions.groupby("cell")["label"].first()
    alike = pairs["photo"].map(label) == pairs["other"].map(label)  # not so where one is missing
    same = pairs[pairs["same_cell"].fillna(False) & alike]
    return predictions.assign(cell=predictions["cell"].map(group_photos(label.index, same)))


def recorded_scores(
    predictions: pd.DataFrame, *, left_out: Sequence[str] = (), n_resamples: int = 2000
) -> dict[str, Any]:
    """Score recorded verdicts per image and per cell.

    Parameters
    ----------
    predictions : DataFrame
        From `recorded_predictions`, not empty.
    left_out : sequence of str
        Cells to leave out.
    n_resamples : int
        See `intervals.bootstrap_interval`.

    Returns
    -------
    dict
        `n_cells`, `cells_right`, and `image` and `cell`, each a dict of `value`, `low`, `high`:
        the macro-F1 with its interval over cells.
    """
    table = predictions[~predictions["cell"].isin(left_out)]
    cells = per_cell(table)
    right = int((cells["predicted"] == cells["label"]).sum())
    found: dict[str, Any] = {"n_cells": len(cells), "cells_right": right}
    for level, rows in (("image", table), ("cell", cells)):
        ends = bootstrap_interval(rows, n_resamples=n_resamples, ranking=False)["macro_f1"]
        value = point_scores(*from_predictions(rows)[:3])["macro_f1"]
        found[level] = {"value": value, "low": ends["low"], "high": ends["high"]}
    return found


def readings_of_test(*, folder: Path = REFERENCE_RESULTS) -> pd.DataFrame:
    """List every reading of the official TEST, in order, with what it gave."""
    path = folder / "test-readings.csv"
    rows = []
    for number, row in enumerate(pd.read_csv(path).itertuples() if path.is_file() else (), start=1):
        found = recorded_scores(recorded_predictions(row.record, folder=folder))
        rows.append(
            {
                "reading": number,
                "model": row.model,
                "record": row.record,
                "macro-F1 per image": in_words(found["image"]),
                "cells right": f"{found['cells_right']} of {found['n_cells']}",
            }
        )
    return pd.DataFrame(rows)


def attention_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return where the heat lies on outlined cells: a row for the nucleus and one for the cell."""
    columns = {
        "heat inside": "energy_{}",
        "area": "area_{}",
        "heat of a random map": "random_energy_{}",
        "peak inside": "peak_{}",
        "heat of the best map": "ceiling_{}",
    }
    return pd.DataFrame(
        {
            region: {name: found.get(key.format(region)) for name, key in columns.items()}
            for region in ("nucleus", "cell")
        }
    ).T


def external_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the macro-F1 in another laboratory: a row for each model, a column for each way."""
    rows = {
        name: {way: in_words(one, key="macro_f1") for way, one in ways.items()}
        for name, ways in found.get("models", {}).items()
    }
    return pd.DataFrame(rows).T


def flagged_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the share of images that were not *ok* there, rows and columns as `external_table`."""
    models = found.get("models", {})
    return pd.DataFrame(
        {name: {way: one["not_ok"] for way, one in ways.items()} for name, ways in models.items()}
    ).T


def each_way(found: Mapping[str, Any], model: str) -> str:
    """Return a model's macro-F1 in another laboratory, in each way; "" where not measured."""
    table = external_table(found)
    ways = table.loc[model] if model in table.index else {}
    return "; ".join(f"{way} {score}" for way, score in ways.items())


def status_table(found: Mapping[str, Any], model: str) -> pd.DataFrame:
    """Return how often each group of pictures gets each status: `n` and shares, 0 to 1."""
    groups = found.get("models", {}).get(model, {}).get("groups", {})
    return pd.DataFrame(groups, index=list(STATUS_COLUMNS)).T.astype({"n": int})


def separation_table(found: Mapping[str, Any], model: str, *, within: bool = False) -> pd.DataFrame:
    """Return how well each score parts each group from what the model knows.

    Parameters
    ----------
    found : mapping
        `measurement("novelty")`.
    model : str
        Of its models.
    within : bool
        Compare with the known kinds of the same laboratory instead, where that was measured.

    Returns
    -------
    pandas.DataFrame
        A row a group, a column a score: the AUROC with its interval, and the FPR95.
    """
    groups = found.get("models", {}).get(model, {}).get("groups", {})
    rows = {}
    for name, one in groups.items():
        scores = one.get("within" if within else "scores", {})
        for score, values in scores.items():
            value, low, high = (values["auroc"][key] for key in ("value", "low", "high"))
            passing = f"{values['fpr95']['value']:.0%}"
            rows.setdefault(name, {})[score] = f"{value:.2f} ({low:.2f} to {high:.2f}), {passing}"
    return pd.DataFrame.from_dict(rows, orient="index")


def speed_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the bench: for each comparison both figures with their unit, and the ratio."""
    if not found:
        return pd.DataFrame(columns=["HematoVision", "the usual way", "ratio"])
    labels, start = found["files_to_labels"], found["start"]
    phase, augment = found["phase_one"], found["augmentation"]
    rows = {
        "files to labels, against Keras predict in batches": (
            f"{labels['hv_predict_images_per_s']:.0f} images/s",
            f"{labels['keras_batches_images_per_s']:.0f} images/s",
            labels["ratio_batches"],
        ),
        "files to labels, against one image at a time": (
            f"{labels['hv_predict_images_per_s']:.0f} images/s",
            f"{labels['keras_one_by_one_images_per_s']:.0f} images/s",
            labels["ratio_one_by_one"],
        ),
        "start of the command to the first verdict": (
            f"{start['hv_predict_s']:.2f} s",
            f"{start['with_keras_s']:.2f} s",
            start["ratio"],
        ),
        f"head, {phase['epochs']} epochs: features kept, against computed each time": (
            f"{phase['cached_s']:.1f} s",
            f"{phase['frozen_s']:.1f} s",
            phase["ratio"],
        ),
        "augmentation, against ImageDataGenerator": (
            f"{augment['layers_images_per_s']:.0f} images/s",
            f"{augment['generator_images_per_s']:.0f} images/s",
            augment["ratio"],
        ),
    }
    columns = ["HematoVision", "the usual way", "ratio"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def service_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the services under load: a row a service and number of clients, and our lead.

    `ratio` is the requests a second of `hv serve` with the same weights over those of the row; of
    the service that finds cells, which has no counterpart, it is empty.
    """
    load = found.get("load", {})
    rows = {}
    for name, by_clients in load.get("services", {}).items():
        for clients, one in by_clients.items():
            ratio = load["times_the_usual"].get(name, {}).get(clients)
            rows[name, int(clients)] = {
                "requests/s": f"{one['requests_per_s']:.1f}",
                "median": f"{one['median_ms']:.0f} ms",
                "99th percentile": f"{one['p99_ms']:.0f} ms",
                "processor time": f"{one['cpu_ms_per_request']:.0f} ms",
                "ratio": "" if ratio is None else f"{ratio:.1f}",
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows:
        table.index = pd.MultiIndex.from_tuples(rows, names=["service", "clients"])
    return table


def ablation_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the small networks: macro-F1, difference from the reference, verdict."""
    differences = {row["gain"]: row for row in found.get("differences", [])}
    rows = {}
    for row in found.get("scores", []):
        name = row["condition"]
        change = differences.get(name)
        rows[name] = {
            "macro-F1": in_words(row),
            "difference": in_words(change, signed=True) if change else "",
            "verdict": WORDS[change["verdict"]] if change else "",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def detector_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return what `results/detector.json` says of each kind, a row a set and kind."""
    rows = {}
    for name, one in found.get("sets", {}).items():
        for kind, scores in one["kinds"].items():
            strict, inner = scores["strict"], scores["inner"]
            rows[name, kind] = {
                "boxes": scores["n_cells"],
                "average precision": in_words(strict["average_precision"]),
                "without cells at the edge": in_words(inner["average_precision"]),
                "found": in_words(strict["recall"]),
                "finds without a box, a field": in_words(strict["false_a_field"]),
            }
    return pd.DataFrame(rows).T


def smears_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return what `results/counts.json` says of smears of a hundred cells, a row a way to count."""
    ways = {
        "perfect": "counted without a mistake",
        "apart": "unsure cells apart",
        "left-out": "unsure cells left out",
        "shared-out": "unsure cells shared out",
        "rebalanced": "corrected for the training's balance",
    }
    every = found.get("by_kind", {})
    rows = {
        name: {
            "off by, points": f"{100 * every['all'][way]['error']:.1f}",
            "bias of neutrophils, points": f"{100 * every['neutrophil'][way]['bias']:+.1f}",
            "limits hold": f"{every['all'][way]['held']:.0%}",
            "width of the limits, points": f"{100 * every['all'][way]['width']:.0f}",
        }
        for way, name in ways.items()
        if every
    }
    return pd.DataFrame(rows).T
