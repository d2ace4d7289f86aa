"""Probes: what a small, fixed model reads from an image, or from a part that should tell nothing.

A probe is a linear classifier on features that nobody trained for the task {cite}`kapoor2023`. It
is fitted in a second, so the same probe can be scored under many splits, and only the split
differs. The features are those of the frozen backbone, or the black borders of the copies alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, fingerprint
from hv_utils.ground.runs import Run
from hv_utils.images.reading import read_image
from hv_utils.network.learnt import check_not_learnt, start_files
from hv_utils.network.onnx_graph import graph_outputs, layer_weights, write_graph
from hv_utils.network.preprocessing import DECODE_THREADS, IMAGE_SIZE
from hv_utils.network.weights import backbone, lite0_weights

if TYPE_CHECKING:
    import onnx

FEATURES = "features.npz"
STRENGTH = 0.01  # scikit-learn's C, the same under every split
BLACK = 24  # brightest channel of a pixel that passes for black fill, JPEG noise included
GRID = (24, 32)  # cells of the border's low-resolution mask, down and across


def frozen_features(
    run: Run,
    table: pd.DataFrame,
    *,
    weights: str = "lite0",
    size: Sequence[int] = IMAGE_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the pooled features of the start backbone, computed once in a run.

    They are kept in `features.npz` of the run folder: `features` (N, 1280) float16, `path`,
    `sha256`, `weights` (as asked for), `start_weights` (what `auto` came to) and `size`. A later
    call with the same weights and size takes them from there, as long as every image of `table` is
    among them with the same content.

    Parameters
    ----------
    run : Run
    table : DataFrame
        Image table with `path`, and `sha256` where known.
    weights : str
        Start weights, see `weights.backbone`; never those of the run's own model, which has seen
        the labels.
    size : sequence of int
        (height, width) in pixels.
    progress : callable, optional
        Called with (images done, N), see `progress.print_progress`.

    Returns
    -------
    array, shape (N, 1280), float32
        Rows of `table`; rounded to 16 bits, so that the first and later calls agree.

    Raises
    ------
    HematoVisionError
        Where the weights are out of reach or have learnt from a cell of the table, or an image
        cannot be read.
    """
    check_not_learnt(table, weights, cross_validated=True)
    paths = table["path"].astype(str).to_numpy()
    known = "sha256" in table and table["sha256"].notna().all()
    digests = table["sha256"] if known else [fingerprint(Path(path)) for path in paths]
    digests = np.asarray(digests, str)
    about = {"weights": weights, "size": f"{size[0]}x{size[1]}"}
    # The same name can come to stand for other weights: a model trained anew.
    about["weights_sha256"] = " ".join(fingerprint(path) for path in start_files(weights))
    kept = _kept_features(run.path(FEATURES), paths, digests, about)
    if kept is None:
        graph, name = start_graph(weights, size=tuple(size))
        kept = graph_outputs(graph, list(paths), progress=progress).astype(np.float16)
        with atomic_path(run.path(FEATURES)) as temporary:
            columns = {"features": kept, "path": paths.astype(str), "sha256": digests}
            np.savez(temporary, **columns, **about, start_weights=name)
    return kept.astype(np.float32)


def kept_start(run: Run) -> tuple[str, tuple[int, int]]:
    """Return what made the kept features.

    Returns
    -------
    weights : str
        The start weights, `auto` resolved to what it came to.
    size : tuple of int
        (height, width) in pixels.
    """
    with np.load(run.need(FEATURES, made_by="07_leak")) as arrays:
        height, width = map(int, str(arrays["size"]).split("x"))
        return str(arrays["start_weights"]), (height, width)


def _kept_features(
    file: Path, paths: np.ndarray, digests: np.ndarray, about: dict[str, str]
) -> np.ndarray | None:
    """Return the kept rows of `paths`, None where they are not all there or were made otherwise."""
    try:
        with np.load(file) as arrays:
            other = any(str(arrays[name]) != value for name, value in about.items())
            if other or "start_weights" not in arrays:
                return None
            rows = pd.Index(arrays["path"]).get_indexer(paths)
            if (rows < 0).any() or (arrays["sha256"][rows] != digests).any():
                return None
            return arrays["features"][rows]
    except (OSError, ValueError, KeyError):  # no file, or one from elsewhere: make it anew
        return None


def start_graph(
    weights: str = "lite0", *, size: tuple[int, int] = IMAGE_SIZE, seed: int = 0
) -> tuple[onnx.ModelProto, str]:
    """Return the start backbone with its features pooled, as it was trained on ImageNet.

    The weights of `lite0` come from a network with ReLU6 and without gates. Fine-tuning takes the
    difference in its stride; features that stay frozen need the network they were trained in.

    Parameters
    ----------
    weights : str
        See `weights.backbone`.
    size : tuple of int
        (height, width) in pixels.
    seed : int
        Of the weights that no file provides.

    Returns
    -------
    graph : onnx.ModelProto
        Takes uint8 (N, *size, 3), 0 to 255, and gives float32 (N, 1280).
    name : str
        What `weights` came to.
    """
    if weights != "lite0":  # TensorFlow starts for what has to be read with Keras alone
        base, weights = backbone(weights, size=size, seed=seed)
    if weights == "lite0":
        return write_graph(lite0_weights(), size=size, activation="relu6"), weights
    return write_graph(layer_weights(base), size=size), weights


def linear_probe(*, strength: float = STRENGTH) -> Pipeline:
    """Return the probe: features scaled to mean 0 and spread 1, then logistic regression.

    Parameters
    ----------
    strength : float
        scikit-learn's `C`, above 0; the smaller, the more regular.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Not fitted; classes weigh the same however many images they have.
    """
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000, tol=1e-3)
    return make_pipeline(StandardScaler(), model)


def fit_predict(
    features: np.ndarray, labels: Sequence[str], others: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """Fit the probe on some images and return its probabilities for others.

    Parameters
    ----------
    features : array, shape (N, D)
        Of the training images.
    labels : sequence of str, length N
        Their classes.
    others : array, shape (M, D)
        Features of the images to judge.
    classes : sequence of str, length K
        Columns wanted; a class without a training image gets probability 0.

    Returns
    -------
    array, shape (M, K), float64, rows sum to 1
        `pred_probs`.

    Raises
    ------
    HematoVisionError
        Where the training images are all of one class.
    """
    labels = np.asarray(labels, object)
    if len(set(labels)) < 2:
        raise HematoVisionError(
            f"expected training images of at least two classes, got {len(labels)} of "
            f"{', '.join(sorted(set(labels))) or 'none'}: take more images or fewer folds"
        )
    # Threads of the linear algebra wait for each other longer than such a fit takes.
    with threadpool_limits(1):
        probe = linear_probe().fit(features, labels.astype(str))
        found = probe.predict_proba(others)
    probs = np.zeros((len(others), len(classes)))
    probs[:, [list(classes).index(name) for name in probe.classes_]] = found
    return probs / probs.sum(axis=1, keepdims=True)


def out_of_fold(
    features: np.ndarray,
    labels: Sequence[str],
    folds: Iterable[tuple[np.ndarray, np.ndarray]],
    classes: Sequence[str],
) -> np.ndarray:
    """Judge every image by a probe fitted on the other folds.

    Parameters
    ----------
    features : array, shape (N, D)
    labels : sequence of str, length N
    folds : iterable of pairs of int arrays
        Positions of the training and of the test rows; each row is tested once.
    classes : sequence of str, length K

    Returns
    -------
    array, shape (N, K), float64
        `pred_probs`, NaN in a row that no fold tests.
    """
    labels = np.asarray(labels, object)
    probs = np.full((len(labels), len(classes)), np.nan)
    for train, test in folds:
        probs[test] = fit_predict(features[train], labels[train], features[test], classes)
    return probs


def black_border(image: np.ndarray, *, black: int = BLACK) -> np.ndarray:
    """Find the black fill that turning and shifting an image leaves at its edges.

    Parameters
    ----------
    image : array, shape (H, W, 3), uint8, 0 to 255
    black : int
        A pixel passes for black where none of its channels is brighter.

    Returns
    -------
    array, shape (H, W), bool
        True on black pixels connected to the frame. The cell is out of it by construction: stain
        is coloured, and what is dark inside the field does not touch the frame.
    """
    dark = (image.max(axis=2) <= black).astype(np.uint8)
    _, parts = cv2.connectedComponents(dark, connectivity=8)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, np.setdiff1d(edge, 0)) & (dark > 0)


def border_features(
    paths: Iterable[str | Path],
    *,
    grid: tuple[int, int] = GRID,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> np.ndarray:
    """Reduce each image to the outline of its black border, and to nothing else.

    Parameters
    ----------
    paths : iterable of str or Path
        N image files.
    grid : tuple of int
        (rows, columns) of the low-resolution mask.
    progress : callable, optional
        Wraps the iterable, like `tqdm.tqdm`.

    Returns
    -------
    array, shape (N, rows * columns), float32, 0 to 1
        Share of black border in each field of the grid.
    """

    def one(path: str | Path) -> np.ndarray:
        mask = black_border(read_image(path)).astype(np.float32)
        return cv2.resize(mask, grid[::-1], interpolation=cv2.INTER_AREA).ravel()

    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        found: Any = pool.map(one, paths)
        rows = list(progress(found) if progress else found)
    return np.stack(rows) if rows else np.zeros((0, grid[0] * grid[1]), np.float32)
