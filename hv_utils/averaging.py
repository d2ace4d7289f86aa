"""Average the weights of two trained models into one, where validation prefers it.

Models that were fine-tuned from one start, with other settings, often lie in one valley of the
loss: the mean of their weights is then a model, too, and often a better one than either, at the
price of one (model soups; Wortsman et al., ICML 2022). Statistics of batch normalisations cannot be
averaged; they are measured anew (Izmailov et al., UAI 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hv_utils.errors import HematoVisionError
from hv_utils.model import input_size, load_model, predict_probs
from hv_utils.preprocessing import encode_labels, load_images
from hv_utils.training_steps import judge, rank
from hv_utils.weights import calibrate_batch_norm

if TYPE_CHECKING:
    import keras

NORM_IMAGES = 512


def average_with(
    model: keras.Model,
    other_path: str | Path,
    train: pd.DataFrame,
    val: pd.DataFrame,
    *,
    classes: Sequence[str],
    norm_images: int = NORM_IMAGES,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, Any]:
    """Give a model the mean of its weights and another's, if that judges validation better.

    Parameters
    ----------
    model : keras.Model
        After training; changed in place where the average is better, else left as it was.
    other_path : str or Path
        A `model.keras` of the same classes, input size and head.
    train, val : pandas.DataFrame
        Image tables with columns `path` and `label`. Neither model may have learnt from `val`:
        see `learnt.check_not_learnt`.
    classes : sequence of str
        The K classes in the order of the model's output.
    norm_images : int
        Training images, drawn at random, on which batch normalisations are measured.
    batch_size, seed : int

    Returns
    -------
    dict
        `alone` and `averaged`, each a dict as from `training_steps.judge`, and `kept` (bool).

    Raises
    ------
    HematoVisionError
        Where the other model is missing or of another kind.
    """
    other, meta = load_model(other_path)
    ours, theirs = model.get_weights(), other.get_weights()
    shapes = [[array.shape for array in arrays] for arrays in (ours, theirs)]
    alike = shapes[0] == shapes[1] and input_size(other) == input_size(model)
    if not alike or list(meta["classes"]) != list(classes):
        raise HematoVisionError(
            f"expected a model of the same classes, input size and head, but {other_path} is of "
            f"{', '.join(meta['classes'])} at {'x'.join(map(str, meta['size']))} pixels: "
            "average models of runs that differ in training alone"
        )
    y_val = encode_labels(val["label"], classes)

    def judged() -> dict[str, float]:
        return judge(predict_probs(model, list(val["path"]), batch_size=batch_size), y_val)

    alone = judged()
    model.set_weights([(a + b) / 2 for a, b in zip(ours, theirs, strict=True)])
    few = train["path"].sample(min(norm_images, len(train)), random_state=seed)
    calibrate_batch_norm(model, load_images(few, size=input_size(model)), seed=seed)
    averaged = judged()
    kept = rank(averaged) > rank(alone)
    if not kept:
        model.set_weights(ours)
    return {"alone": alone, "averaged": averaged, "kept": bool(kept)}
