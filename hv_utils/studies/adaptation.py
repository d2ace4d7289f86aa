"""`hv adapt`: the last layer of a model fitted anew to a few labelled cells of another laboratory.

The features stay as they are. The new layer is a logistic regression on the hidden layer and on the
features below it, drawn towards the old layer rather than towards zero, so that with few labels it
says what the model said, and with many what the labels say. How strongly, cross-validation on the
labelled cells chooses, group by group. No TensorFlow.

The features reach the last layer through the hidden one, which is made wider: where they cannot be
below -SHIFT, ReLU(feature + SHIFT) is the feature again, shifted. So an adapted model is a model
like any other, heat maps included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hv_utils.data.groups import FILE_COLUMNS, GROUP_COLUMNS, read_groups
from hv_utils.data.layout import read_folders
from hv_utils.data.tables import column, read_table
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, fingerprint
from hv_utils.images.labels import normalise_label
from hv_utils.inference.familiarity import FACT as DISTANCES
from hv_utils.inference.novelty import Novelty, unit
from hv_utils.inference.onnx_model import NOT_A_CELL, UNREADABLE, OnnxClassifier, read_verified
from hv_utils.inference.predict import default_model
from hv_utils.inference.preparation import Shown, preparation_of
from hv_utils.inference.sets import FACT as SETS
from hv_utils.inference.sets import PredictionSets
from hv_utils.network.export import write_companions
from hv_utils.network.model import LOGITS_LAYER
from hv_utils.network.onnx_graph import PREFIX
from hv_utils.scores.calibration import apply_temperature, fit_temperature, log_loss
from hv_utils.scores.metrics import point_scores
from hv_utils.scores.thresholds import choose_threshold

if TYPE_CHECKING:
    import onnx

PULLS = (0.003, 0.03, 0.3, 3.0)  # towards the old layer; the last hardly lets it move
FOLDS = 5
LEAST = 5  # labelled cells
SHIFT = 0.28  # swish is nowhere below -0.2785
TARGET = 0.95  # accuracy of what is answered
NOT_A_CELL_BY = {"not_a_cell_above": "novelty_threshold", "a_cell_above": "presence_threshold"}
LABEL_COLUMNS = ("label", "class", "cell type", "type")
NEAR = 3.0  # pixels between the place of a label and the cell that it is of


@dataclass(frozen=True)
class Layer:
    """The last dense layer: logits are `hidden @ kernel + bias`."""

    kernel: np.ndarray
    bias: np.ndarray

    def probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Return the softmax, float64 (N, K)."""
        from scipy.special import softmax

        return softmax(np.asarray(hidden, float) @ self.kernel + self.bias, axis=1)


def fit_layer(hidden: np.ndarray, truth: np.ndarray, old: Layer, pull: float) -> Layer:
    """Fit the last layer to labelled cells, drawn towards the old one.

    Parameters
    ----------
    hidden : numpy.ndarray, shape (N, D), float
        What goes into the layer.
    truth : numpy.ndarray, shape (N,), int
    old : Layer
        Its logits calibrated, so that it is as sure as it ought to be.
    pull : float
        Weight of the squared distance from the old layer, in units of the features' spread.

    Returns
    -------
    Layer
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    middle, scale = hidden.mean(axis=0), np.ones(hidden.shape[1])
    heeded = (old.kernel != 0).any(axis=1)  # by the old layer; the others have their own spread
    for columns in (heeded, ~heeded):
        if columns.any():
            scale[columns] = np.sqrt(np.mean((hidden - middle)[:, columns] ** 2)) + 1e-12
    x = np.column_stack([(hidden - middle) / scale, np.ones(len(hidden))])
    before = hidden @ old.kernel + old.bias
    hot = np.eye(len(old.bias))[truth]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        change = flat.reshape(x.shape[1], -1)
        logits = before + x @ change
        value = np.mean(logsumexp(logits, axis=1) - (logits * hot).sum(axis=1))
        slope = x.T @ (softmax(logits, axis=1) - hot) / len(x)
        return value + pull * (change**2).sum() / 2, (slope + pull * change).ravel()

    start = np.zeros(x.shape[1] * len(old.bias))
    change = minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(x.shape[1], -1)
    step = change[:-1] / scale[:, None]
    return Layer(old.kernel + step, old.bias + change[-1] - middle @ step)


def fold_of(groups: Sequence[str], seed: int = 0) -> np.ndarray:
    """Deal groups out to at most five folds, the largest first: int (N,)."""
    codes, names = pd.factorize(pd.Series(groups, dtype="string"))
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    held, home = np.zeros(min(FOLDS, len(names))), np.zeros(len(names), int)
    for group in order:
        home[group] = int(np.argmin(held))
        held[home[group]] += sizes[group]
    return home[codes]


def held_out_probs(
    hidden: np.ndarray, truth: np.ndarray, fold: np.ndarray, old: Layer, pull: float
) -> np.ndarray:
    """Return each cell's probabilities by a layer that was fitted without its fold."""
    probs = np.zeros((len(hidden), len(old.bias)))
    for number in np.unique(fold):
        away = fold == number
        new = fit_layer(hidden[~away], truth[~away], old, pull) if not away.all() else old
        probs[away] = new.probabilities(hidden[away])
    return probs


def choose_pull(hidden: np.ndarray, truth: np.ndarray, fold: np.ndarray, old: Layer) -> float:
    """Return the pull with the least log loss on held-out folds; the strongest for one group."""
    if len(np.unique(fold)) < 2:
        return PULLS[-1]
    losses = []
    for pull in PULLS:
        probs = held_out_probs(hidden, truth, fold, old, pull)
        losses.append(log_loss(truth, probs))
    return PULLS[int(np.argmin(losses))]


def adapted_layer(
    hidden: np.ndarray, truth: np.ndarray, groups: Sequence[str], old: Layer
) -> tuple[Layer, float]:
    """Choose the pull and fit the layer to all labelled cells."""
    pull = choose_pull(hidden, truth, fold_of(groups), old)
    return fit_layer(hidden, truth, old, pull), pull


def read_labelled(given: str | Path, groups: str | None = None) -> pd.DataFrame:
    """Read which cells are labelled what.

    Parameters
    ----------
    given : str or Path
        A folder with one sub-folder a class, or a CSV file with a column `file` (paths from its
        own folder) and a column `label`, and perhaps one of `group`, `patient`, `slide`, `smear`;
        with columns `x` and `y`, the middle of a cell in pixels, a picture may have several rows.
    groups : str, optional
        For a folder, see `data.groups.read_groups`.

    Returns
    -------
    pandas.DataFrame
        `path`, `label`, `group` (the picture itself where nothing is known), `x` and `y` (NaN where
        the most prominent cell is meant).

    Raises
    ------
    HematoVisionError
        For what cannot be read, paths that lead nowhere, and one cell in two classes.
    """
    given = Path(given).expanduser()
    if given.is_dir():
        table, _ = read_folders(given)
        table = table.assign(sha256=[fingerprint(Path(path)) for path in table["path"]])
        table["group"] = read_groups(table, groups, root=given)[0] if groups else table["sha256"]
        table = table.assign(x=np.nan, y=np.nan)
    elif groups:
        raise HematoVisionError(
            f"expected --groups for a folder of classes, but {given} is a table: "
            "give it a column group instead"
        )
    else:
        table = _read_csv(given)
    one_cell = ["sha256", "x", "y"]
    for _, same in table.groupby(one_cell, dropna=False):
        if same["label"].nunique() > 1:
            first, second = same.drop_duplicates("label")[["path", "label"]].to_numpy()[:2]
            raise HematoVisionError(
                f"expected each picture in one class, but {first[0]} ({first[1]}) and {second[0]} "
                f"({second[1]}) are the same file: take one of them out"
            )
    table = table.drop_duplicates(one_cell).reset_index(drop=True)
    return table[["path", "label", "group", "x", "y"]]


def _read_csv(file: Path) -> pd.DataFrame:
    rows = read_table(file)
    names, labels = column(rows, FILE_COLUMNS, path=file), column(rows, LABEL_COLUMNS, path=file)
    paths = [file.parent / Path(name).expanduser() for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise HematoVisionError(
            f"expected pictures at the paths in {file}, but {len(missing)} of {len(paths)} lead "
            f"nowhere, such as {missing[0]}: write them from the table's own folder"
        )
    table = pd.DataFrame({"path": map(str, paths), "label": [normalise_label(x) for x in labels]})
    table["sha256"] = [fingerprint(path) for path in paths]
    for name in ("x", "y"):
        given = pd.Series(list(rows[name]) if name in rows else [""] * len(rows), dtype=object)
        table[name] = pd.to_numeric(given, errors="coerce")
        unread = given[table[name].isna() & (given != "")]
        if len(unread):
            raise HematoVisionError(
                f"expected pixels in the column {name} of {file}, but one is {unread.iloc[0]!r}: "
                "give the middle of the cell as two numbers, x from the left and y from above"
            )
    known = [name for name in GROUP_COLUMNS if name in rows]
    table["group"] = list(rows[known[0]]) if known else table["sha256"]
    return table


def old_layer(model: OnnxClassifier) -> Layer:
    """Return a model's last layer, calibrated, with nothing yet for the features behind."""
    kernel, bias = (np.asarray(part, float) / model.temperature for part in model.head[-1])
    return Layer(np.vstack([kernel, np.zeros((len(model.head[0][0]), len(bias)))]), bias)


def hidden_of(
    model: OnnxClassifier,
    paths: Sequence[str],
    *,
    places: Sequence[tuple[float, float]] | None = None,
    um_per_pixel: float | None = None,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return what goes into the new last layer, for one cell of each picture.

    Parameters
    ----------
    model : OnnxClassifier
    paths : sequence of str, length N
    places : sequence of tuple of float, length N, optional
        Middle of the cell, x and y in pixels; by default and where NaN the most prominent one.
    um_per_pixel : float, optional
        Scale of the pictures.

    Returns
    -------
    hidden : numpy.ndarray, shape (N, D), float64
        The hidden layer and behind it the pooled features, shifted by SHIFT; NaN where there is
        nothing to judge.
    features : numpy.ndarray, shape (N, 1280), float64
        The pooled features, in which novelty is judged.
    reasons : list of str
        Why there is nothing, "" where there is.
    """
    prepare = lru_cache(maxsize=1)(preparation_of(model.meta, um_per_pixel=um_per_pixel))
    features, reasons = [], []
    for path, place in zip(paths, places or [(np.nan, np.nan)] * len(paths), strict=True):
        shown = _cell_at(prepare(Path(path)), path, place)
        there = shown.image is not None
        pooled = model.run(shown.image[None])[1].mean(axis=(1, 2))[0] if there else np.nan
        features.append(np.broadcast_to(pooled, model.head[0][0].shape[:1]))
        reasons.append("" if there else shown.reason)
    hidden = pooled = np.array(features, float)
    for kernel, bias in model.head[:-1]:
        hidden = np.maximum(hidden @ kernel + bias, 0)
    return np.hstack([hidden, np.maximum(pooled + SHIFT, 0)]), pooled, reasons


def _cell_at(shown: list[Shown], path: str, place: tuple[float, float]) -> Shown:
    """Return the cell at a place, or the most prominent one where none is given.

    Raises
    ------
    HematoVisionError
        Where a place is given, but the model takes whole pictures.
    """
    if place[0] != place[0] or shown[0].status == UNREADABLE:
        return shown[0]
    if shown[0].place is None:
        raise HematoVisionError(
            f"expected labels without x and y for a model of whole pictures, but {path} has them: "
            "adapt the model of cells, or take the columns out"
        )
    away = [np.hypot(one.place["x"] - place[0], one.place["y"] - place[1]) for one in shown]
    nearest = int(np.argmin(np.nan_to_num(away, nan=np.inf)))
    if away[nearest] <= NEAR:
        return shown[nearest]
    where = f"{place[0]:g}, {place[1]:g} of {path}"
    return Shown(None, NOT_A_CELL, f"expected a white cell at {where}, but none is found there")


@dataclass(frozen=True)
class Adaptation:
    """What came of an adaptation.

    Attributes
    ----------
    path : Path
        The adapted model.
    before, after : dict
        `macro_f1`, `accuracy` and `per_class` on the labelled cells: of the model as it was, and
        of layers that were fitted without the cells' own groups.
    facts : dict
        `n_cells`, `n_groups`, `per_class`, `pull`, `temperature`, `unsure_below`.
    left_out : list of str
        A line on each picture that shows no cell.
    """

    path: Path
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any]
    left_out: list[str]

    def text(self) -> str:
        """Return the report as printed."""
        facts = self.facts
        counts = ", ".join(f"{count} {name}" for name, count in facts["per_class"].items())
        lines = [f"{facts['n_cells']} labelled cells in {facts['n_groups']} groups: {counts}"]
        lines.append(f"{'':14}{'before':>8}{'after':>8}   (cross-validated, groups held out)")
        for name in ("macro_f1", "accuracy"):
            lines.append(f"{name:14}{self.before[name]:8.3f}{self.after[name]:8.3f}")
        for name in facts["per_class"]:
            old, new = (found["per_class"][name]["f1"] for found in (self.before, self.after))
            lines.append(f"{name:14}{old:8.3f}{new:8.3f}")
        return "\n".join([*lines, f"adapted model: {self.path}"])


def adapt(
    given: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    groups: str | None = None,
    um_per_pixel: float | None = None,
) -> Adaptation:
    """Adapt a model to labelled cells, and write it.

    Parameters
    ----------
    given, groups
        See `read_labelled`.
    out : str or Path
        Of the adapted model, ending in `.onnx`; two companions come beside it.
    model : str or Path, optional
        By default the one that `hv predict` uses.
    um_per_pixel : float, optional
        Scale of the pictures, see `preparation.preparation_of`.

    Returns
    -------
    Adaptation

    Raises
    ------
    HematoVisionError
        For fewer than five cells or two classes, a class that the model does not know, and what
        cannot be read or written.
    """
    source, out = Path(model) if model else default_model(), Path(out)
    if out.suffix != ".onnx":
        raise HematoVisionError(
            f"expected a name ending in .onnx for the adapted model, but --out is {out}: "
            "name it as in --out ours.onnx"
        )
    table = read_labelled(given, groups)
    classifier = OnnxClassifier.load(source, threads=1)
    _check(table, classifier.classes)
    hidden, features, reasons = hidden_of(
        classifier,
        list(table["path"]),
        places=list(zip(table["x"], table["y"], strict=True)),
        um_per_pixel=um_per_pixel,
    )
    shown = np.array([not reason for reason in reasons])
    table, hidden, features = table[shown], hidden[shown], features[shown]
    _check(table, classifier.classes)
    truth = np.array([classifier.classes.index(label) for label in table["label"]])
    old, fold = old_layer(classifier), fold_of(table["group"])
    new, pull = adapted_layer(hidden, truth, list(table["group"]), old)
    new = Layer(new.kernel.astype(np.float16).astype(float), new.bias)
    probs = held_out_probs(hidden, truth, fold, old, pull)
    temperature = fit_temperature(truth, probs) if len(np.unique(fold)) > 1 else 1.0
    temperature = float(np.clip(temperature, 0.5, 4.0))  # few cells must not make it too sure
    threshold = choose_threshold(truth, apply_temperature(probs, temperature), target=TARGET)
    facts = {
        "n_cells": len(table),
        "n_groups": int(table["group"].nunique()),
        "per_class": table["label"].value_counts().sort_index().to_dict(),
        "pull": pull,
        "temperature": temperature,
        "unsure_below": threshold.unsure_below,
    }
    sets = PredictionSets.fit(apply_temperature(probs, temperature), truth)
    known = _known_here(classifier, features, truth, fold)
    _write(source, out, new, facts, sets.facts(classifier.classes), known)
    before = point_scores(truth, old.probabilities(hidden), classifier.classes)
    after = point_scores(truth, probs, classifier.classes)
    return Adaptation(out, before, after, facts, [reason for reason in reasons if reason])


def _check(table: pd.DataFrame, classes: Sequence[str]) -> None:
    unknown = sorted(set(table["label"]) - set(classes))
    if unknown:
        raise HematoVisionError(
            f"expected classes that the model knows ({', '.join(classes)}), but the labels name "
            f"{', '.join(unknown)}: rename them, or train a model of your own with `hv run`"
        )
    if table["label"].nunique() < 2 or len(table) < LEAST:
        raise HematoVisionError(
            f"expected at least {LEAST} different labelled cells of two classes or more, but got "
            f"{len(table)} of {table['label'].nunique()}: label some more"
        )


def _known_here(
    model: OnnxClassifier, features: np.ndarray, truth: np.ndarray, fold: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what tells cells from other things, with the cells here among what is known."""
    if model.presence is not None:
        return model.presence.knowing(features).arrays()
    if model.novelty is None:
        return {}

    def knowing(rows: np.ndarray) -> Novelty:
        lengths = unit(features[rows])
        means = [lengths[truth[rows] == k].mean(axis=0) for k in np.unique(truth[rows])]
        return replace(model.novelty, means=np.vstack([model.novelty.means, *means]))

    scores = [
        knowing(fold != number).score(features[fold == number])
        for number in np.unique(fold)
        if (fold != number).any()
    ]
    highest = max((float(part.max()) for part in scores), default=0.0)
    everything = knowing(np.ones(len(truth), bool))
    return replace(everything, threshold=max(model.novelty.threshold, highest)).arrays()


def _write(
    source: Path,
    out: Path,
    layer: Layer,
    facts: dict,
    sets: dict[str, list[float]],
    known: dict[str, np.ndarray],
) -> None:
    """Write the model with another last layer, and its companions."""
    import onnx

    about, graph, arrays = read_verified(source)
    proto = onnx.load_from_string(graph)
    (first, shift), *_ = _head(arrays)
    wide = np.hstack([first, np.eye(len(first))]), np.append(shift, np.full(len(first), SHIFT))
    for name, (kernel, bias) in {"hidden": wide, LOGITS_LAYER: (layer.kernel, layer.bias)}.items():
        _replace(proto, f"{PREFIX}{name}", kernel)
        _replace(proto, _bias_of(proto, f"{PREFIX}{name}"), bias)
    arrays |= {"head_0_kernel": wide[0].astype(np.float16), "head_0_bias": wide[1], **known}
    arrays |= {"head_1_kernel": layer.kernel.astype(np.float16), "head_1_bias": layer.bias}
    with atomic_path(out) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    thresholds = {**about.get("thresholds", {}), "unsure_below": facts["unsure_below"]}
    for name, array in NOT_A_CELL_BY.items():
        if array in known:
            thresholds[name] = float(known[array])
    about.pop(DISTANCES, None)  # they were measured from what was known before
    about |= {
        SETS: sets,
        "temperature": facts["temperature"],
        "thresholds": thresholds,
        "adapted": facts,
    }
    write_companions(out, facts={**about, "adapted_from": about["sha256"]["onnx"]}, arrays=arrays)


def _head(arrays: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return kernels and biases of the head.

    Raises
    ------
    HematoVisionError
        Where there is not one hidden layer.
    """
    count = sum(name.startswith("head_") and name.endswith("_kernel") for name in arrays)
    if count != 2:
        raise HematoVisionError(
            f"expected a head of two layers to adapt, but this model's has {count}: "
            "train it with a hidden layer"
        )
    return [(arrays[f"head_{n}_kernel"], arrays[f"head_{n}_bias"]) for n in range(count)]


def _bias_of(proto: onnx.ModelProto, kernel: str) -> str:
    """Return the name of the bias that is added behind a kernel."""
    (node,) = (node for node in proto.graph.node if kernel in node.input and node.op_type != "Cast")
    if node.op_type == "Gemm":
        return node.input[2]
    (added,) = (other for other in proto.graph.node if node.output[0] in other.input)
    return added.input[1]


def _replace(proto: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    """Give a tensor of the graph other values, stored as precisely as before."""
    from onnx import numpy_helper

    for tensor in proto.graph.initializer:
        if tensor.name.removesuffix("/half") == name:
            kind = numpy_helper.to_array(tensor).dtype
            tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))
