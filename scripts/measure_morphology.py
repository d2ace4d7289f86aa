"""Do the words behind a verdict say more than the verdict? Heads for WBCAtt's eleven attributes.

    python scripts/measure_morphology.py FOLDER --attributes wbcatt.csv [--model MODEL.onnx]
        [--json results/morphology.json] [--ship]

FOLDER as in `measure_laboratories.py`; the table names the pictures of PBC and their attributes
(Tsutsui, Pang and Wen, 2023), with their own train, val and test part. A logistic regression on the
model's frozen features learns each attribute, its strength and the margin of a contradiction are
chosen on val. Judged is the part of test that the features have not learnt from either. Each head
stands beside the commonest value and beside what the *true class alone* would say: a head that is
no better than that has learnt the class. Then: are verdicts that the words contradict wrong more
often, at home and in two laboratories whose cells nobody has described? --ship writes the heads
beside the model.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure_laboratories import raabin, zheng
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hv_utils.ground.files import cores, dump_json, fingerprint, write_text
from hv_utils.ground.runs import environment
from hv_utils.inference.morphology import (
    SIZES,
    STARTS,
    WORDS,
    Morphology,
    morphology_path,
    write_morphology,
)
from hv_utils.inference.onnx_model import OnnxClassifier
from hv_utils.inference.predict import TRAVELLING_MODEL
from hv_utils.inference.preparation import preparation_of
from hv_utils.network.laboratories import pbc_cells
from hv_utils.scores import paired
from hv_utils.scores.bootstrap import mean_interval
from hv_utils.scores.calibration import log_loss

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03)
ACCUSED = 0.05  # of right verdicts on val may be contradicted


def read_attributes(path: Path, root: Path) -> pd.DataFrame:
    """List the described pictures: `path`, `label`, `part`, `held` and the attributes."""
    table = pd.read_csv(path, keep_default_na=False)
    cells = pbc_cells(root)
    known = cells.assign(name=[one.name for one in cells["path"]]).set_index("name")
    table = table[table["img_name"].isin(known.index)].reset_index(drop=True)
    home = known.loc[table["img_name"]]
    assert (home["label"].to_numpy() == table["label"].str.lower().to_numpy()).all()
    return table.assign(
        path=home["path"].to_numpy(),
        label=home["label"].to_numpy(),
        held=(home["part"] == "test").to_numpy(),
        group=table["img_name"],
    )


def judged(model: OnnxClassifier, table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the pictures that show a cell, with the verdict on it, and its features."""
    prepare = preparation_of(model.meta)

    def one(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
        shown = prepare(Path(path))[0]
        if shown.image is None:
            return None
        logits, maps = model.run(shown.image[None])
        barred = np.array([[name in shown.barred for name in model.classes]])
        probs = model.probabilities(np.where(barred, -np.inf, logits))[0]
        return probs, maps.mean(axis=(1, 2))[0]

    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(one, table["path"]))
    there = [one is not None for one in found]
    probs = np.stack([one[0] for one in found if one is not None])
    table = table[there].reset_index(drop=True)
    table["predicted"] = np.array(model.classes)[probs.argmax(1)]
    table["confidence"] = probs.max(1)
    return table, np.stack([one[1] for one in found if one is not None])


def fit(table: pd.DataFrame, features: np.ndarray) -> tuple[Morphology, dict[str, float]]:
    """Fit a head for each attribute, and count what each kind of cell looks like."""
    train, val = (np.flatnonzero(table["part"] == part) for part in ("train", "val"))
    classes = tuple(sorted(table["label"].unique()))
    kernels, biases, typical, strengths = [], [], [], {}
    for name, values in WORDS.items():
        index = table[name].map(list(values).index).to_numpy()
        best = None
        for strength in STRENGTHS:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
            probe.fit(features[train], index[train])
            loss = log_loss(index[val], probe.predict_proba(features[val]))
            if best is None or loss < best[0]:
                best = (loss, strength, probe)
        _, strengths[name], probe = best
        kernel, bias = folded(probe, len(values))
        kernels.append(kernel)
        biases.append(bias)
        seen = pd.crosstab(table["label"].iloc[train], index[train]).reindex(
            index=classes, columns=range(len(values)), fill_value=0
        )
        counts = seen.to_numpy(float) + 1
        typical.append(counts / counts.sum(1, keepdims=True))
    found = Morphology(np.hstack(kernels), np.concatenate(biases), classes, np.hstack(typical), 0)
    return found, strengths


def folded(probe: Any, n_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of a probe, the scaling of its features folded in."""
    scaler, regression = probe[0], probe[1]
    assert list(regression.classes_) == list(range(n_values))
    coefficients, intercept = regression.coef_, regression.intercept_
    if n_values == 2:  # scikit-learn keeps the odds of the second
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercept = np.array([0, intercept[0]])
    kernel = (coefficients / scaler.scale_).T
    return kernel, intercept - scaler.mean_ @ kernel


def attribute_rows(table: pd.DataFrame, probs: np.ndarray, typical: Morphology) -> list[dict]:
    """Score each head beside the commonest value and what the true class alone would say."""
    rows, cells = [], table[["label"]].assign(cell=table["group"])
    index = [typical.classes.index(name) for name in table["label"]]
    for (name, values), start in zip(WORDS.items(), STARTS[:-1], strict=True):
        span = slice(start, start + len(values))
        truth = cells.assign(label=table[name])
        by_class = typical.typical[index, span]
        common = np.tile(typical.typical[:, span].mean(0), (len(table), 1))
        ways = {"head": probs[:, span], "class alone": by_class, "commonest": common}
        kinds = list(values)
        held = {way: paired.collect(truth, found[None], kinds) for way, found in ways.items()}
        scores = paired.compare(held).query("score == 'macro_f1'").set_index("condition")
        gain = paired.gains(held, {"gain": ("head", "class alone")}).query("score == 'macro_f1'")
        rows.append(
            {
                "attribute": name,
                **{way: scores.loc[way, ["value", "low", "high"]].to_dict() for way in ways},
                "gain": gain.iloc[0][["value", "low", "high", "verdict"]].to_dict(),
            }
        )
    return rows


def contradictions(
    table: pd.DataFrame, features: np.ndarray, morphology: Morphology
) -> dict[str, Any]:
    """Tell how often contradicted verdicts are wrong, and how often the others are."""
    known = table["predicted"].isin(morphology.classes).to_numpy()
    table, features = table[known].reset_index(drop=True), features[known]
    probs = morphology.probabilities(features)
    rival = np.array(morphology.rival(probs, list(table["predicted"]))) != ""
    wrong = (table["predicted"] != table["label"]).to_numpy()
    groups = table["group"].astype(str).to_numpy()
    report: dict[str, Any] = {"pictures": len(table), "contradicted": int(rival.sum())}
    for name, part in (("wrong if contradicted", rival), ("wrong if not", ~rival)):
        report[name] = {"wrong": int(wrong[part].sum()), "of": int(part.sum())}
        if part.any():
            interval = mean_interval(wrong[part].astype(float), groups[part])
            report[name] |= {"share": float(wrong[part].mean()), **interval}
    if 0 < wrong.sum() < len(wrong):
        gap = gaps(morphology, probs, table["predicted"])
        report["auroc of the contradiction"] = float(roc_auc_score(wrong, gap))
        report["auroc of the confidence"] = float(roc_auc_score(wrong, -table["confidence"]))
        report["rival right"] = int(
            (np.array(morphology.rival(probs, list(table["predicted"]))) == table["label"]).sum()
        )
    return report


def gaps(morphology: Morphology, probs: np.ndarray, predicted: pd.Series) -> np.ndarray:
    """Return by how much another kind explains the looks better than the verdict, 0 and more."""
    support = morphology.support(probs)
    own = support[np.arange(len(support)), [morphology.classes.index(name) for name in predicted]]
    return support.max(1) - own


def main() -> None:
    """Fit, measure and print; write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attributes", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=TRAVELLING_MODEL)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ship", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = OnnxClassifier.load(options.model)
    described = read_attributes(options.attributes, options.folder / "pbc-part")
    table, features = judged(model, described)
    morphology, strengths = fit(table, features)
    val = (table["part"] == "val").to_numpy() & table["predicted"].isin(morphology.classes)
    right = val & (table["predicted"] == table["label"])
    probs = morphology.probabilities(features[right])
    margin = float(np.quantile(gaps(morphology, probs, table["predicted"][right]), 1 - ACCUSED))
    morphology = Morphology(**{**vars(morphology), "margin": margin})
    unseen = ((table["part"] == "test") & table["held"]).to_numpy()
    report: dict[str, Any] = {
        "environment": environment(),
        "model": model.meta["sha256"],
        "attributes_sha256": fingerprint(options.attributes),
        "pictures": {part: int((table["part"] == part).sum()) for part in ("train", "val", "test")},
        "unseen": int(unseen.sum()),
        "strengths": strengths,
        "margin": margin,
        "values": dict(zip(WORDS, SIZES, strict=True)),
        "heads": attribute_rows(
            table[unseen].reset_index(drop=True),
            morphology.probabilities(features[unseen]),
            morphology,
        ),
        "contradictions": {
            "pbc held out": contradictions(
                table[unseen].reset_index(drop=True), features[unseen], morphology
            )
        },
    }
    for name, folder, read in (
        ("raabin", "raabin-part", raabin),
        ("zheng 1", "wbc-masks-1", zheng),
    ):
        abroad = judged(model, read(options.folder / folder))
        report["contradictions"][name] = contradictions(*abroad, morphology)
    for row in report["heads"]:
        print(f"{row['attribute']:26}", *(f"{way} {row[way]['value']:.3f}" for way in ("head", "class alone", "commonest")), row["gain"]["verdict"])  # fmt: skip  # noqa: E501
    for name, found in report["contradictions"].items():
        print(name, found)
    if options.ship:
        facts = {
            "trained_on": "WBCAtt (MIT), train part",
            "source": "scripts/measure_morphology.py",
        }
        digest = model.meta["sha256"]["onnx"]
        write_morphology(morphology, options.model, features_sha256=digest, facts=facts)
        print("written:", morphology_path(options.model))
    if options.json:
        write_text(options.json, dump_json(report))


if __name__ == "__main__":
    main()
