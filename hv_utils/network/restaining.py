"""Random changes of a standard view that leave its label alone, in NumPy and OpenCV.

What differs between laboratories and between finds, each drawn wider than was seen: turn, mirror,
scale, place; how strongly and in what hue the stain took, in optical density; the stain of another
cell, taken over in part; a ground that was judged wrongly; focus, grain, resolution, JPEG; and the
edge of a picture. About 3 ms a view.
"""

from __future__ import annotations

import cv2
import numpy as np

from hv_utils.fields.view import GROUND, VIEW_SIDE, to_density, to_light

SCALES = (0.75, 1.33)


def moved(view: np.ndarray, rng: np.random.Generator, *, side: int = VIEW_SIDE) -> np.ndarray:
    """Turn, mirror, scale and shift a stored view, and cut the network's view out of it."""
    angle = rng.uniform(0, 2 * np.pi)
    scale = np.exp(rng.uniform(*np.log(SCALES))) * side / VIEW_SIDE
    stretch = np.exp(rng.normal(0, 0.03))
    far = rng.random() < 0.1
    shift = rng.normal(0, 14 if far else 5, 2)
    flip = rng.choice([-1.0, 1.0])
    a, b = np.cos(angle) * scale * stretch, -np.sin(angle) * scale * flip
    c, d = np.sin(angle) * scale * stretch, np.cos(angle) * scale * flip
    old, new = (view.shape[0] - 1) / 2, (side - 1) / 2
    matrix = np.array(
        [[a, b, new + shift[0] - (a + b) * old], [c, d, new + shift[1] - (c + d) * old]]
    )
    return cv2.warpAffine(
        view,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GROUND,) * 3,
    )


def restained(
    image: np.ndarray, rng: np.random.Generator, own: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Vary the stain, the lamp and the camera, in optical density."""
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.15, 3))
    if rng.random() < 0.5:  # towards another cell's stain
        gain *= np.clip(other / own, 0.4, 2.5) ** rng.uniform(0.3, 1.0)
    mix = np.diag(np.clip(gain, 0.3, 3.0)) @ (np.eye(3) + rng.normal(0, 0.06, (3, 3)))
    if rng.random() < 0.2:  # less or more colour
        much = rng.uniform(0.4, 1.3)
        mix = (much * np.eye(3) + (1 - much) / 3) @ mix
    density = cv2.transform(to_density(image), mix.astype(np.float32))
    lamp = rng.normal(0, 0.15 if rng.random() < 0.12 else 0.04, 3)  # now and then a wrong ground
    density += (rng.normal(0, 0.04) + lamp).astype(np.float32)
    if rng.random() < 0.3:  # a camera's curve
        power = np.float32(np.exp(rng.normal(0, 0.2)))
        density = np.sign(density) * cv2.pow(np.abs(density), float(power))
    return to_light(density)


def worn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, coarsen, roughen and compress, each now and then."""
    side = image.shape[0]
    if rng.random() < 0.2:
        small = max(40, int(side * rng.uniform(0.35, 0.9)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8))
    elif rng.random() < 0.15:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        much = rng.uniform(0.3, 1.2)
        image = cv2.addWeighted(image, 1 + much, soft, -much, 0)
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(1, 6), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the picture's edge beside the cell, now and then: ground beyond it."""
    if rng.random() > 0.25:
        return image
    image = image.copy()
    side = image.shape[0]
    for turn in range(4):
        if rng.random() < 0.5:
            deep = int(rng.uniform(0, 0.25 if rng.random() < 0.85 else 0.42) * side)
            if deep:
                np.rot90(image, turn)[:deep] = GROUND
    return image


def augmented(
    view: np.ndarray,
    rng: np.random.Generator,
    own: np.ndarray,
    other: np.ndarray,
    *,
    side: int = VIEW_SIDE,
) -> np.ndarray:
    """Return one random variant of a stored view: uint8 (side, side, 3).

    Parameters
    ----------
    view : numpy.ndarray
        uint8 (256, 256, 3), see `views`.
    rng : numpy.random.Generator
    own, other : numpy.ndarray
        `stain_levels` of this view and of one whose stain it may take over.
    side : int
        Pixels of the variant; it shows the same 20 µm whatever their number.
    """
    return cropped(worn(restained(moved(view, rng, side=side), rng, own, other), rng), rng)
