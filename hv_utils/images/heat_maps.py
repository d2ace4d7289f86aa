"""Heat maps for the eye: enlarged, normalised, laid over their image.

How they are computed is `network.gradcam` and, of an exported model, `inference.onnx_model`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def enlarge(heat_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate a heat map to another (height, width), bilinearly; float32, not normalised."""
    height, width = size
    image = Image.fromarray(np.asarray(heat_map, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def normalise(heat_map: np.ndarray) -> np.ndarray:
    """Stretch a heat map to 0…1 for the eye.

    Parameters
    ----------
    heat_map : numpy.ndarray
        Shape (h, w).

    Returns
    -------
    numpy.ndarray
        Shape (h, w), dtype float32. A flat map holds nothing to see and becomes zero.
    """
    low, high = float(np.min(heat_map)), float(np.max(heat_map))
    if not high > low:
        return np.zeros(np.shape(heat_map), np.float32)
    return ((np.asarray(heat_map, dtype=np.float64) - low) / (high - low)).astype(np.float32)


def overlay(image: np.ndarray, heat_map: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """Lay a heat map over an image; the hotter, the less of the image shows through.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (height, width, 3), uint8.
    heat_map : numpy.ndarray
        Shape (h, w), any range; enlarged and normalised here.
    alpha : float
        Opacity where the map is hottest, 0 to 1.

    Returns
    -------
    numpy.ndarray
        Shape (height, width, 3), dtype uint8, a new array.
    """
    from matplotlib import colormaps

    heat = normalise(enlarge(heat_map, image.shape[:2]))
    colours = colormaps["inferno"](heat)[:, :, :3] * 255
    opacity = alpha * heat[:, :, None]
    return np.round(image * (1 - opacity) + colours * opacity).astype(np.uint8)
