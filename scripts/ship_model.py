"""Put the finished model of a run folder into the package, where `hv predict` finds it.

    python scripts/ship_model.py runs/native
    python scripts/ship_model.py runs/travelling --name travelling

Copies model.onnx and its two companions to hv_utils/shipped/ after loading them, so that what is
damaged is not shipped: to hematovision.*, which takes whole pictures, or to travelling.*, which
takes cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path
from hv_utils.ground.runs import Run
from hv_utils.inference.onnx_model import SHIPPED_MODEL, OnnxClassifier, arrays_path, facts_path
from hv_utils.network.export import write_companions

LARGEST = 25e6  # bytes, all weights of the package together
LOCAL = ("made_from_sha256",)  # of no use outside the run


def ship(run: Run, target: Path = SHIPPED_MODEL) -> Path:
    """Copy a run's model to `target` and return it.

    Raises
    ------
    HematoVisionError
        Where the run's model is missing, damaged, without thresholds, or too large.
    """
    source = run.need("model.onnx", made_by="03_model")
    model = OnnxClassifier.load(source)
    if model.novelty is None or "thresholds" not in model.meta:
        raise HematoVisionError(
            f"expected a finished model, but {source} has no thresholds: run finish_model first"
        )
    others = [path for path in target.parent.glob("*") if not path.name.startswith(target.stem)]
    files = (source, arrays_path(source), facts_path(source))
    total = sum(path.stat().st_size for path in (*others, *files) if path.is_file())
    if total > LARGEST:
        raise HematoVisionError(
            f"expected at most {LARGEST / 1e6:.0f} MB of weights in the package, but with this "
            f"model it is {total / 1e6:.1f} MB: export it with half=True"
        )
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())
    with np.load(arrays_path(source)) as arrays:
        facts = {name: fact for name, fact in model.meta.items() if name not in LOCAL}
        return write_companions(target, facts=facts, arrays=dict(arrays))


def main() -> None:
    """Ship the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder with model.onnx")
    parser.add_argument("--name", choices=("hematovision", "travelling"), default="hematovision")
    options = parser.parse_args()
    try:
        path = ship(Run.open(options.run), SHIPPED_MODEL.with_name(f"{options.name}.onnx"))
    except HematoVisionError as error:
        parser.exit(1, f"ship_model: {error}\n")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
