"""What an interrupted training leaves behind, so that it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hv_utils.runs import dump_json, write_text

if TYPE_CHECKING:
    import keras


def fingerprint_settings(settings: dict[str, Any], paths: Sequence[str]) -> str:
    """Return a digest of what a training depends on: its settings and its images, in order."""
    text = dump_json(settings) + "\n".join(str(path) for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
