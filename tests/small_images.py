"""Small images for tests of what people bring: noise, since no loader may care."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

FOUR = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
APPLE = b"\0\5\26\7" + bytes(80)  # what macOS writes beside a file on a foreign disk


def noise(path: Path, seed: int = 0, size: tuple[int, int] = (50, 40)) -> Path:
    """Write one image of `size` (width, height), its content drawn from a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix in (".jfif", ".jpe") else None)
    return path


def class_folders(
    root: Path, names: tuple[str, ...] = FOUR, n: int = 10, suffix: str = ".png"
) -> Path:
    """Write `n` images into a sub-folder for each class, no two alike."""
    start = zlib.crc32(str(root).encode())  # other pictures in another folder
    for index, name in enumerate(names):
        for number in range(n):
            noise(root / name / f"{number:03d}{suffix}", seed=start + 1000 * index + number)
    return root
