"""What an interrupted training leaves behind, so that it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hv_utils.ground.files import dump_json, write_text
from hv_utils.network.training_steps import rank

if TYPE_CHECKING:
    import keras


def fingerprint_settings(settings: dict[str, Any], images: Iterable[str]) -> str:
    """Return a digest of what a training depends on: its settings and its images, in order."""
    text = dump_json(settings) + "\n".join(images)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def fingerprint_training(model: keras.Model, settings: dict[str, Any], images: pd.DataFrame) -> str:
    """Return a digest of a training's settings, its images and the model that it begins with.

    Parameters
    ----------
    model : keras.Model
        As the training finds it. Through its weights those count that it started from.
    settings : dict
    images : pandas.DataFrame
        Columns `path` and `label`.
    """
    weights = hashlib.sha256()
    for array in model.get_weights():
        weights.update(np.ascontiguousarray(array))
    facts = {
        "input": model.input_shape,
        "dropout": [layer.rate for layer in model.layers if hasattr(layer, "rate")],
        "weights": weights.hexdigest(),
    }
    rows = (f"{label} {path}" for path, label in zip(images["path"], images["label"], strict=True))
    return fingerprint_settings({**settings, **facts}, rows)


def describe_layers(layers: keras.Model) -> list[dict[str, Any]]:
    """Return the settings of a model's layers, without the names that Keras counts up."""
    configs = [layer.get_config() for layer in layers.layers]
    return [{key: value for key, value in one.items() if key != "name"} for one in configs]


def save_state(
    folder: str | Path | None,
    name: str,
    model: keras.Model,
    *,
    rows: list[dict],
    fingerprint: str,
) -> None:
    """Keep a model's weights and its history so far as state `name`; does nothing without folder.

    The weights go to a new file, the small JSON file that names them is replaced last, and only
    then is the older one removed, so there is a whole state at every moment.
    """
    if folder is None:
        return
    import keras

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}-{len(rows):03d}.weights.h5"
    bare = keras.Model(model.inputs, model.outputs)  # without the optimiser's state
    bare.save_weights(weights, overwrite=True)
    state = {"fingerprint": fingerprint, "weights": weights.name, "rows": rows}
    write_text(folder / f"{name}.json", dump_json(state))
    for old in folder.glob(f"{name}-*.weights.h5"):
        if old != weights:
            old.unlink()


def load_state(
    folder: str | Path | None, name: str, model: keras.Model, *, fingerprint: str
) -> list[dict] | None:
    """Load state `name` into the model and return its history, or None where it does not apply.

    A state made with other settings or images, or a damaged one, is passed over.
    """
    try:
        state = json.loads((Path(folder or "") / f"{name}.json").read_text(encoding="utf-8"))
        if folder is None or state["fingerprint"] != fingerprint:
            return None
        model.load_weights(Path(folder) / state["weights"])
        return state["rows"]
    except (OSError, ValueError, KeyError):
        return None


def clear(folder: str | Path) -> None:
    """Remove the states; called when the finished model has been saved."""
    shutil.rmtree(folder, ignore_errors=True)


class Kept:
    """The best weights of a training so far, and the state from which it can go on.

    Parameters
    ----------
    model : keras.Model
        Gets the weights of the last epoch where there is a state to go on from.
    checkpoint : str, Path or None
        Folder of the states.
    fingerprint : str
        See `fingerprint_training`.
    before : tuple of float
        Rank of the model as it comes, which an epoch must surpass to be kept.
    """

    def __init__(
        self,
        model: keras.Model,
        checkpoint: str | Path | None,
        fingerprint: str,
        before: tuple[float, float],
    ) -> None:
        self.model = model
        self.state = {"folder": checkpoint, "fingerprint": fingerprint}
        self.epoch, self.rank, self.weights = 0, before, model.get_weights()
        best = load_state(checkpoint, "best", model, fingerprint=fingerprint) or []
        if best:
            self.epoch, self.rank, self.weights = len(best), rank(best[-1]), model.get_weights()
        self.rows = load_state(checkpoint, "last", model, fingerprint=fingerprint) or best
        if self.rows:
            print(f"fine-tuning goes on after epoch {len(self.rows)}", flush=True)

    def add(self, row: dict) -> None:
        """Take in an epoch that the model has just finished."""
        self.rows.append(row)
        if rank(row) > self.rank:
            self.epoch, self.rank, self.weights = (
                row["epoch"],
                rank(row),
                self.model.get_weights(),
            )
            save_state(name="best", model=self.model, rows=self.rows, **self.state)
        save_state(name="last", model=self.model, rows=self.rows, **self.state)

    def finish(self) -> pd.DataFrame:
        """Give the model its best weights, and return the history."""
        self.model.set_weights(self.weights)
        self.model.trainable = True
        for row in self.rows:
            row["best"] = row["epoch"] == self.epoch
        return pd.DataFrame(self.rows)
