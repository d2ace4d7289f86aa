"""The checks of the notebooks' exercises: each asks the run's files what is right."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.predictions import from_predictions, to_predictions
from hv_utils.ground.runs import Run
from hv_utils.studies.exercise_checks import HUNDREDTH, checks, need, same, sealed

BLOOD = {"neutrophil": 54.2, "lymphocyte": 37.1, "monocyte": 6.4, "eosinophil": 2.2}
LIKELY = 0.15  # of the width of an interval, which another seed moves


@checks("01_data", 1)
def _most_copied(run: Run, cell: str, share: float) -> None:
    table = run.read_table("images.csv").query("split not in ('simple', 'unplaced')")
    copies = table.groupby(["split", "label"])["cell"].value_counts()
    shares = copies / copies.groupby(level=["split", "label"]).transform("sum")
    need(0 < float(share) <= 1, "share is to lie between 0 and 1")
    leading = shares[(copies == copies.max()) | (shares > shares.max() - 1e-9)]
    own = leading[leading.index.get_level_values("cell") == str(cell)]
    need(len(own) > 0, "cell has neither the most copies nor the largest share")
    same("share", share, own.max())


@checks("01_data", 2)
def _brightness(run: Run, score: float) -> None:
    from sklearn.metrics import classification_report
    from sklearn.tree import DecisionTreeClassifier

    parts = dict([*run.read_table("images.csv").groupby("split")])
    grey = {name: parts[name][["brightness"]].to_numpy() for name in ("train", "test")}
    judge = DecisionTreeClassifier(max_depth=2).fit(grey["train"], parts["train"]["label"])
    told = judge.predict(grey["test"])
    found = classification_report(parts["test"]["label"], told, output_dict=True, zero_division=0)
    same("score", score, found["macro avg"]["f1-score"])


@checks("02_preprocessing", 1)
def _detail(run: Run, errors: dict) -> None:
    from hv_utils.images.reading import read_image, resize

    table = run.read_table("images.csv")
    original = read_image(table[table["split"] == "train"]["path"].iloc[0])
    expected = {}
    for side in (64, 224):
        again = resize(resize(original, (side, side)), original.shape[:2])
        expected[side] = np.mean(np.abs(np.subtract(again, original, dtype=float)))
    same("errors", errors, expected, within=0.05)


@checks("02_preprocessing", 2)
def _lies(run: Run, lies: set) -> None:
    need(isinstance(lies, set), "lies is to be a set of the names")
    sealed("lies", lies, "d4982290674fa96d3592e977")


@checks("03_model", 1)
def _parameters(run: Run, share: float) -> None:
    from hv_utils.network.model import load_model

    layers = load_model(run.path("model.keras"))[0].layers
    first = next(at for at, one in enumerate(layers) if one.name.startswith("block6a"))
    sizes = np.array([one.count_params() for one in layers])
    same("share", share, sizes[first:].sum() / sizes.sum())


@checks("03_model", 2)
def _epochs(run: Run, epochs: dict) -> None:
    history = run.read_table("history.csv", made_by="03_model")
    need(set(epochs) == set(history["phase"]), "epochs is to have one entry for each phase")
    for phase, (lowest, highest) in epochs.items():
        rows = history[history["phase"] == phase].set_index("epoch")
        loss, score = rows["val_loss"], rows["val_macro_f1"]
        need({lowest, highest} <= set(rows.index), f"{phase} has no such epoch")
        need(loss[lowest] == loss.min(), f"the first epoch of {phase} is another")
        need(score[highest] == score.max(), f"the second epoch of {phase} is another")


@checks("04_evaluation", 1)
def _as_if_independent(run: Run, factor: float) -> None:
    from hv_utils.scores.intervals import bootstrap_interval

    test = run.read_table("predictions.csv")
    width = {}
    for name, table in (("cells", test), ("images", test.drop(columns="cell"))):
        found = bootstrap_interval(table)["macro_f1"]
        width[name] = found["high"] - found["low"]
    expected = width["cells"] / width["images"] if width["images"] else np.nan
    same("factor", factor, expected, within=LIKELY * max(1.0, np.nan_to_num(expected)))


@checks("04_evaluation", 2)
def _votes(run: Run, scores: dict, n_differ: int) -> None:
    from sklearn.metrics import f1_score

    index, probs, classes, cells = from_predictions(run.read_table("predictions.csv"))
    names = np.asarray(classes, object)
    table = pd.DataFrame(probs, columns=classes).groupby(cells.to_numpy(object))
    truth = pd.Series(names[index]).groupby(cells.to_numpy(object)).first()
    mean = table.mean().idxmax(axis=1)
    heads = pd.crosstab(cells.to_numpy(object), names[probs.argmax(1)])
    vote = heads.idxmax(axis=1)  # of equal ones the first of the alphabet
    expected = {
        name: f1_score(truth, told, average="macro")
        for name, told in (("mean", mean), ("vote", vote))
    }
    same("scores", scores, expected)
    same("n_differ", n_differ, (mean != vote).sum())


@checks("04_evaluation", 3)
def _shares_of_blood(run: Run, precision: dict) -> None:
    metrics = run.read_json("metrics.json")
    counts = pd.DataFrame(metrics["confusion_matrix"], metrics["classes"], metrics["classes"])
    told = counts.div(counts.sum(axis=1), axis=0)  # by true class
    found = told.mul(pd.Series(BLOOD).reindex(told.index, fill_value=0), axis=0)
    totals = found.sum()
    expected = {name: found.loc[name, name] / (totals[name] or np.nan) for name in totals.index}
    given = {name: np.nan if not totals[name] else value for name, value in precision.items()}
    same("precision", given, expected)


@checks("05_gradcam", 1)
def _other_maps(run: Run, correlations: dict) -> None:
    same("correlations", correlations, _correlations(*_model_of(run)), within=0.02)


@checks("05_gradcam", 2)
def _finer_maps(run: Run, energies: dict) -> None:
    same("energies", energies, _energies(*_model_of(run)), within=0.01)


def _model_of(run: Run) -> tuple[Path, int]:
    """Return the run's folder, and when its model was written: what is computed of it is kept."""
    return run.folder, run.path("model.keras").stat().st_mtime_ns


@cache
def _correlations(folder: Path, written: int) -> dict[str, float]:
    """Compare the map of the verdict with those of the other classes, for one image."""
    from hv_utils.images.heat_maps import normalise
    from hv_utils.network.gradcam import grad_cam
    from hv_utils.network.model import load_model
    from hv_utils.network.preprocessing import load_images

    run = Run(folder)
    model, meta = load_model(run.path("model.keras"))
    verdicts = run.read_table("predictions.csv")
    failed = verdicts.query("label != predicted")
    one = (failed if len(failed) else verdicts).iloc[0]
    pixels = load_images([one["path"]], size=meta["size"]).astype(np.float32)
    heat = [normalise(grad_cam(model, pixels, [k])[0]).ravel() for k in range(len(meta["classes"]))]
    with np.errstate(invalid="ignore"):
        table = pd.DataFrame(np.corrcoef(heat), meta["classes"], meta["classes"])
    return table[one["predicted"]].to_dict()


@cache
def _energies(folder: Path, written: int) -> dict[str, float]:
    """Return the mean energy in the cell of the maps of four layers."""
    from hv_utils.network.gradcam import grad_cam
    from hv_utils.network.model import load_model
    from hv_utils.network.preprocessing import load_images
    from hv_utils.studies.gradcam_scores import score_maps

    run = Run(folder)
    model, meta = load_model(run.path("model.keras"))
    verdicts = run.read_table("predictions.csv")[["path", "predicted"]]
    some = run.read_table("images.csv").merge(verdicts, on="path").head(8)
    pixels = load_images(some["path"], size=meta["size"])
    verdict = [meta["classes"].index(name) for name in some["predicted"]]
    expected = {}
    for layer in ("top_activation", "block5c_add", "block3b_add", "stem_activation"):
        scores = score_maps(some, grad_cam(model, pixels, verdict, layer=layer))
        column = "energy_cell" if "energy_cell" in scores else "energy_box"
        expected[layer] = scores[column].mean()
    return expected


@checks("06_prediction", 1)
def _answered(run: Run, coverage: Any, accuracy: Any) -> None:
    index, probs, _, _ = from_predictions(run.read_table("predictions-val.csv"))
    coverage, accuracy = (np.asarray(one, float) for one in (coverage, accuracy))
    need(coverage.shape == accuracy.shape == index.shape, "one point for each validation image")
    order = np.argsort(coverage)
    need(np.allclose(coverage[order], np.arange(1, len(index) + 1) / len(index)), "see coverage")
    surest = np.argsort(-probs.max(1), kind="stable")
    hits = (probs.argmax(1) == index)[surest]
    expected = np.cumsum(hits) / np.arange(1, len(index) + 1)
    # Images as sure as one another may come in either order.
    settled = np.append(np.diff(probs.max(1)[surest]) != 0, True)
    right = np.allclose(accuracy[order][settled], expected[settled], atol=HUNDREDTH)
    need(right, "accuracy is not that of the images answered")


@checks("06_prediction", 2)
def _turned(run: Run, n_changed: int, largest: float) -> None:
    from hv_utils.images.reading import read_resized
    from hv_utils.inference.onnx_model import OnnxClassifier

    model = OnnxClassifier.load(run.path("model.onnx"))
    table = run.read_table("new-predictions.csv")
    paths = table.loc[table["status"] != "unreadable", "path"]
    pictures = np.stack([read_resized(path, model.size) for path in paths])
    before, after = (model(one).pred_probs for one in (pictures, np.rot90(pictures, 2, (1, 2))))
    same("n_changed", n_changed, (before.argmax(1) != after.argmax(1)).sum())
    same("largest", largest, np.abs(before - after).max(), within=0.01)


def _training(run: Run) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the images of TRAIN whose cell is known, with their features."""
    from hv_utils.studies import ablations, leak

    table = leak.usable_rows(run.read_table("images.csv"))
    known = (table["part"] == "TRAIN") & table["cell"].notna()
    return ablations.kept_features(run, table[known].reset_index(drop=True))


@checks("07_leak", 1)
def _more_copies(run: Run, inflation: dict) -> None:
    from hv_utils.data.splits import limit_copies
    from hv_utils.studies import leak, leak_scores

    table, features = _training(run)
    expected = {}
    for name, copies in ((1, 1), (2, 2), (4, 4), ("all", 0)):
        some = limit_copies(table, copies, seed=0)
        options = {"n_folds": leak.most_folds(some, 5), "seed": 0}
        found, _ = leak.compare_schemes(
            some, features[some.index], schemes=["random", "source"], **options
        )
        score = {scheme: leak_scores.macro_f1(one) for scheme, one in found.items()}
        expected[name] = score["random"] - score["source"]
    same("inflation", inflation, expected, within=0.01)


@checks("07_leak", 2)
def _remembering(run: Run, inflation: dict) -> None:
    from hv_utils.studies import leak, leak_scores, probes, siblings

    table, features = _training(run)
    labels, classes = table["label"].to_numpy(object), sorted(table["label"].unique())
    score: dict[str, list[float]] = {"nearest neighbour": [], "probe": []}
    for scheme in ("random", "source"):
        folds = leak.scheme_folds(table, scheme, n_folds=leak.most_folds(table, 5), seed=0)
        near = np.zeros((len(table), len(classes)))
        for fold in folds:
            [source] = siblings.nearest_training_images(features, fold, n=1).T
            near[fold[1]] = labels[source][:, None] == np.asarray(classes, object)
        for name, probs in (
            ("nearest neighbour", near),
            ("probe", probes.out_of_fold(features, labels, folds, classes)),
        ):
            score[name].append(leak_scores.macro_f1(to_predictions(table, probs, classes)))
    expected = {name: random - source for name, (random, source) in score.items()}
    same("inflation", inflation, expected, within=0.01)


@checks("07_leak", 3)
def _numbers(run: Run, cells_a_number: float, numbers_a_cell: float) -> None:
    from hv_utils.studies import leak

    table, _ = _training(run)
    table = table.assign(number=leak.name_prefix(table["path"]))
    pairs = table[["label", "number", "cell"]].drop_duplicates()
    same("cells_a_number", cells_a_number, pairs.value_counts(["label", "number"]).mean())
    same("numbers_a_cell", numbers_a_cell, pairs.value_counts("cell").mean())


@checks("08_ablations", 2)
def _paired(run: Run, widths: dict) -> None:
    from hv_utils.scores import paired
    from hv_utils.studies import ablations

    rows, _ = ablations.usable_cells(run.read_table("images.csv"))
    rows, features = ablations.kept_features(run, rows)
    options = {"n_repeats": 2, "n_folds": 3, "copies": 10, "seed": 0}
    held = ablations.imbalance(rows, features, sorted(rows["label"].unique()), **options)
    drawn = [paired.resampled(held, n_resamples=500, seed=seed) for seed in (0, 1)]
    expected = {}
    for name, against in (("paired", drawn[0]), ("each by itself", drawn[1])):
        gap = drawn[0]["augmented", "macro_f1"] - against["plain", "macro_f1"]
        expected[name] = np.subtract(*np.nanquantile(gap, [0.975, 0.025]))
    same("widths", widths, expected, within=LIKELY * min(expected.values()))


@checks("09_audit", 1)
def _repeats(run: Run, listed: dict) -> None:
    from hv_utils.studies.disagreements import judge_cells

    wrong = judge_cells(run.read_table("oof-predictions.csv"))
    times, most = wrong["n_repeats_wrong"], int(wrong["n_repeats"].max())
    same("listed", listed, {n: len(times) - (times < n).sum() for n in range(1, most + 1)})


@checks("09_audit", 2)
def _without_suspects(run: Run, before: float, after: float) -> None:
    from hv_utils.studies.disagreements import judge_cells

    cells = judge_cells(run.read_table("oof-predictions.csv"))
    failed = cells["margin"] >= 0
    same("before", before, 1 - failed.mean(), within=0.001)
    same("after", after, 1 - failed[~cells["disagrees"]].mean(), within=0.001)


@checks("09_audit", 3)
def _readers(run: Run, first: Any, second: Any, agree: float, kappa: float) -> None:
    numbers = set(run.read_table("blind-key.csv")["number"])
    forms = [form.set_index("number")["class"] for form in (first, second)]
    need(all(set(form.index) == numbers for form in forms), "each form is to name every cell")
    need(not forms[0].equals(forms[1]), "two readers are not one reader twice")
    table = pd.crosstab(*(form.sort_index() for form in forms), normalize=True)
    every = table.index.union(table.columns)
    table = table.reindex(index=every, columns=every, fill_value=0)
    seen, guessed = np.trace(table), table.sum(0) @ table.sum(1)
    same("agree", agree, seen)
    same("kappa", kappa, (seen - guessed) / (1 - guessed))


@checks("11_home_model", 1)
def _dearest(run: Run, cell: str, moved: float) -> None:
    from hv_utils.studies import published

    table = published.recorded_predictions(published.SHIPPED_RUN)
    classes = sorted(table["label"].unique())
    truth, told = (table[name].map(classes.index) for name in ("label", "predicted"))
    codes, names = pd.factorize(table["cell"])
    counts = np.zeros((len(names), len(classes), len(classes)))
    np.add.at(counts, (codes, truth, told), 1)

    def score(confusion: np.ndarray) -> np.ndarray:
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        return (2 * hits / (confusion.sum(-1) + confusion.sum(-2))).mean(-1)

    whole = counts.sum(0)
    change = pd.Series(score(whole - counts) - score(whole), names)
    same("moved", moved, change[change.abs().idxmax()], within=0.001)
    need(str(cell) == change.abs().idxmax(), "cell is not the one that moves it most")


@checks("11_home_model", 2)
def _enough_cells(run: Run, n: int) -> None:
    from hv_utils.scores.metrics import wilson
    from hv_utils.studies import published

    table = published.recorded_predictions(published.SHIPPED_RUN)
    found = published.recorded_scores(table, n_resamples=200)
    share = found["cells_right"] / found["n_cells"]

    def settled(cells: int) -> bool:
        return wilson(round(share * cells), cells)["high"] < min(share + 0.03, 1.0)

    need(settled(int(n)), "with n cells the interval still holds the rival's share")
    need(not settled(round(0.7 * n)), "fewer cells would do")


@checks("13_words", 1)
def _needless(run: Run, out: str, keep: str) -> None:
    from hv_utils.studies import published

    heads = published.measurement("morphology")["heads"]
    gain = {head["attribute"]: head["gain"]["value"] for head in heads}
    need({out, keep} <= set(gain), f"out and keep are to be two of {', '.join(gain)}")
    need(gain[out] == min(gain.values()), "out says more than another does")
    need(gain[keep] == max(gain.values()), "keep says less than another does")


@checks("13_words", 2)
def _words_of_look_alikes(run: Run, verdicts: dict) -> None:
    from hv_utils.drawn.smear import draw_photo
    from hv_utils.drawn.variants import LOOK_ALIKES
    from hv_utils.inference.predict import open_classifier
    from hv_utils.studies.travel import prepared

    classify, facts = open_classifier()
    rng = np.random.default_rng(0)
    views = {
        one.variant: prepared(draw_photo(one.label, rng=rng, variant=one.variant).image)[-1]
        for one in LOOK_ALIKES
    }
    told = classify(np.stack([*views.values()])).pred_probs.argmax(1)
    expected = {name: facts["classes"][k] for name, k in zip(views, told, strict=True)}
    need(set(verdicts) == set(expected), "verdicts is to have one entry for each look-alike")
    wrong = [name for name, verdict in verdicts.items() if verdict != expected[name]]
    need(not wrong, f"the model calls another kind what you say of {', '.join(wrong)}")


@checks("14_sets", 1)
def _sizes(run: Run, sizes: dict) -> None:
    fitted, asked, _ = _sets(run)
    levels = (0.6, 0.8, 0.9, 0.95)
    expected = {level: fitted.sets(asked, coverage=level).sum(1).mean() for level in levels}
    same("sizes", sizes, expected, within=0.02)


@checks("14_sets", 2)
def _who_pays(run: Run, shares: dict, pays: str) -> None:
    from hv_utils.inference.sets import PredictionSets

    fitted, asked, index = _sets(run)
    classes = from_predictions(run.read_table("predictions.csv"))[2]
    together = PredictionSets([np.sort(np.concatenate(fitted.scores))] * len(classes))
    expected = {}
    for name, one in (("class by class", fitted), ("pooled", together)):
        inside = pd.Series((one.p_values(asked) > 0.1)[np.arange(len(index)), index])
        expected[name] = inside.groupby(np.asarray(classes, object)[index]).mean().to_dict()
    need(set(shares) == set(expected), f"shares is to have the entries {', '.join(expected)}")
    for name, values in expected.items():
        same(f"shares[{name!r}]", shares[name], values)
    loss = {
        key: expected["pooled"][key] - value for key, value in expected["class by class"].items()
    }
    need(np.isclose(loss[pays], min(loss.values()), atol=HUNDREDTH), "another class pays more")


def _sets(run: Run) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return sets calibrated by one copy a cell, and the test's probabilities and classes."""
    from hv_utils.inference.sets import PredictionSets, one_copy_a_cell

    truth, probs, _, cells = from_predictions(run.read_table("predictions-val.csv"))
    first = one_copy_a_cell([*cells])
    index, asked, _, _ = from_predictions(run.read_table("predictions.csv"))
    return PredictionSets.fit(probs[first], truth[first]), asked, index


@checks("16_fields", 1)
def _basophils(run: Run, total: int) -> None:
    from hv_utils.scores.differential import exact_limits

    def told_apart(cells: int) -> bool:
        return exact_limits(round(0.02 * cells), cells)[1] < 0.04

    need(told_apart(int(total)), "of so many cells the limits still hold 4 %")
    need(not told_apart(round(0.85 * total)), "fewer cells would do")


@checks("16_fields", 2)
def _platelets(run: Run, table: dict) -> None:
    from hv_utils.inference.detector import FIELD_KINDS, PLATELET, Detector
    from hv_utils.network.field_truth import drawn_fields
    from hv_utils.scores.detection import match

    detector, kind = Detector.load(), FIELD_KINDS.index(PLATELET)
    counts = {level: np.zeros(2, int) for level in (0.6, 0.4, 0.2, 0.1)}
    for field in drawn_fields(24, seed=1):
        truth = field.boxes[field.kinds == kind]
        for level, count in counts.items():
            detector.thresholds[kind] = level
            seen = detector(field.image).of(PLATELET)
            hit = match(seen.boxes, seen.scores, truth).right
            count += (hit.sum(), (~hit).sum())
    need(set(table) == set(counts), "table is to have one entry for each threshold")
    for level, (found, extra) in table.items():
        same(f"found at {level}", found, counts[level][0], within=0)
        same(f"extra at {level}", extra, counts[level][1], within=0)


@checks("17_red_cells", 1)
def _eleven(run: Run, eleven: float) -> None:
    from hv_utils.studies.published import measurement

    kinds = measurement("red-cells")["model"]["per_class"]
    others = [row["f1"] for name, row in kinds.items() if name != "elliptocyte"]
    same("eleven", eleven, np.mean(others))
