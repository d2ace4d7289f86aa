"""Prediction on new images: files, folders and patterns in, labelled rows out."""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from hv_utils.errors import HematoVisionError
from hv_utils.images import IMAGE_SUFFIXES, ImageError, read_image, resize

Classifier = Callable[[np.ndarray], np.ndarray]


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Expand files, folders (with all below them) and patterns such as `cells/*.png`.

    Parameters
    ----------
    paths : iterable of str or Path
        What the user named. A file is taken whatever its ending; a folder gives its image files.

    Returns
    -------
    list of Path
        In the order given, a folder's files sorted, none twice.

    Raises
    ------
    HematoVisionError
        For a path that does not exist, a pattern that fits nothing, a folder without images.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise HematoVisionError(
                    f"expected images in the folder {path}, but it has none: "
                    f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))} are looked for"
                )
        elif path.exists():
            files = [path]
        else:
            files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
            if not files:
                raise HematoVisionError(
                    f"expected an image, a folder or a pattern, but nothing is at {given}: "
                    "check the path"
                )
        found += files
    return list(dict.fromkeys(found))


def columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of the prediction table."""
    return ["path", "predicted", "confidence", "status", *(f"prob_{name}" for name in classes)]


def predict_rows(
    paths: Iterable[Path],
    classify: Classifier,
    *,
    classes: Sequence[str],
    size: tuple[int, int],
    batch_size: int = 32,
) -> Iterator[dict]:
    """Label images one batch at a time, so that memory does not grow with their number.

    Parameters
    ----------
    paths : iterable of Path
        Image files.
    classify : callable
        Takes images of shape (N, height, width, 3), uint8, 0 to 255, and returns `pred_probs` of
        shape (N, K), columns in the order of `classes`, rows summing to 1.
    classes : sequence of str
        The K classes.
    size : tuple of int
        (height, width) the classifier wants.
    batch_size : int
        Images held at once.

    Yields
    ------
    dict
        One row of the prediction table (see `columns`), in the order of `paths`. `status` is `ok`,
        or `unreadable` with empty figures and a `reason`: no prediction is made up.
    """
    waiting = iter(paths)
    while names := list(islice(waiting, batch_size)):
        images, reasons = [], []
        for path in names:
            try:
                images.append(resize(read_image(path), size))
                reasons.append("")
            except ImageError as error:
                reasons.append(str(error))
        probabilities = iter(classify(np.stack(images)) if images else ())
        for path, reason in zip(names, reasons, strict=True):
            if reason:
                yield _unreadable(path, reason, classes)
            else:
                yield _labelled(path, next(probabilities), classes)


def _labelled(path: Path, probabilities: np.ndarray, classes: Sequence[str]) -> dict:
    best = int(np.argmax(probabilities))
    return {
        "path": str(path),
        "predicted": classes[best],
        "confidence": float(probabilities[best]),
        "status": "ok",
        **{f"prob_{name}": float(p) for name, p in zip(classes, probabilities, strict=True)},
        "reason": "",
    }


def _unreadable(path: Path, reason: str, classes: Sequence[str]) -> dict:
    figures = dict.fromkeys(("confidence", *(f"prob_{name}" for name in classes)), math.nan)
    return {
        "path": str(path),
        "predicted": "",
        "status": "unreadable",
        **figures,
        "reason": reason,
    }


def prediction_table(rows: Iterable[Mapping], classes: Sequence[str]) -> pd.DataFrame:
    """Collect rows into the prediction table (see `columns`)."""
    return pd.DataFrame(rows, columns=columns(classes))


def keras_classifier(model_path: Path) -> tuple[Classifier, dict]:
    """Return a classifier that runs a saved Keras model, and what is recorded with the model.

    Parameters
    ----------
    model_path : Path
        A `.keras` file with its sidecar.

    Returns
    -------
    classify : callable
        See `predict_rows`.
    meta : dict
        `classes`, `size` and what else was saved with the model.
    """
    from hv_utils.model import load_model

    model, meta = load_model(model_path)

    def classify(images: np.ndarray) -> np.ndarray:
        return np.asarray(model(images.astype(np.float32), training=False))

    return classify, meta
