"""The shapes of nuclei, class by class: lobes, bands, kidneys, rounds.

A shape is a signed distance on a patch whose origin is the middle of the cell. `fit` then moves its
edge until the nucleus takes the wanted share of the cell.
"""

from __future__ import annotations

import numpy as np

from hv_utils.drawn.drawing import arc, capsule, ellipse, smooth_noise, union
from hv_utils.drawn.variants import TYPICAL

LOBES = {
    "eosinophil": {2: 0.84, 3: 0.16},
    "neutrophil": {2: 0.22, 3: 0.42, 4: 0.28, 5: 0.08},
}
"""Numbers of lobes with their chances; among neutrophils, of the segmented ones."""


def draw_nucleus(
    label: str,
    x: np.ndarray,
    y: np.ndarray,
    *,
    radius: float,
    ratio: float,
    rng: np.random.Generator,
    variant: str = TYPICAL,
) -> np.ndarray:
    """Draw the shape of a nucleus for a cell of class `label`.

    Parameters
    ----------
    label : str
        One of the four classes that have a shape here.
    x, y : numpy.ndarray, shape (H, W), float32
        The patch.
    radius : float
        Radius of the cell, pixels.
    ratio : float
        Wanted area of the nucleus over area of the cell.
    rng : numpy.random.Generator
        Source of randomness.
    variant : str
        See `variants`.

    Returns
    -------
    numpy.ndarray
        Shape (H, W), float32: signed distance, negative in the nucleus, not yet fitted.
    """
    # Bending the plane bends every shape on it, which keeps lobes from looking like ellipses.
    bend = radius * (0.05 if label != "lymphocyte" else 0.02)
    scale = max(radius * 0.4, 8)
    x = x + np.float32(bend) * smooth_noise(x.shape, scale, rng)
    y = y + np.float32(bend) * smooth_noise(x.shape, scale, rng)
    return _SHAPES[label](x, y, radius=radius, ratio=ratio, variant=variant, rng=rng)


def fit(
    nucleus: np.ndarray, cell: np.ndarray, *, ratio: float, margin: float, tolerance: float
) -> np.ndarray:
    """Move the edge of a nucleus until it takes `ratio` of the cell.

    Parameters
    ----------
    nucleus, cell : numpy.ndarray, shape (H, W)
        Signed distances.
    ratio : float
        Wanted share of the cell's area.
    margin : float
        Least distance from the nucleus to the edge of the cell, pixels.
    tolerance : float
        How far the edge may move outward, pixels: farther, and lobes would run together.

    Returns
    -------
    numpy.ndarray
        Signed distance of the fitted nucleus, inside the cell everywhere.
    """
    in_cell = cell < 0
    wanted = min(int(ratio * in_cell.sum()), in_cell.sum() - 1)
    level, fitted = 0.0, nucleus
    for _ in range(3):  # what is cut off at the cell's edge is made good elsewhere
        level += float(np.partition(fitted[in_cell], wanted)[wanted])
        moved = nucleus - np.float32(min(level, tolerance))
        # A nucleus that meets the edge of its cell yields to it in a round, not in a corner.
        fitted = -union(-moved, -cell - np.float32(margin), 4 * margin + 4)
        if level >= tolerance:
            break
    return fitted


def _lobed(x, y, *, radius, ratio, lobes, span, stretch, neck, rng):
    """Place lobes on a bend and join neighbours by filaments of half-width `neck`."""
    shares = rng.normal(1, 0.16, lobes).clip(0.55, 1.5)
    sizes = radius * np.sqrt(ratio * shares / shares.sum()) * 0.97
    bend = radius * span
    gap = radius * rng.uniform(0.01, 0.09, lobes)
    apart = (sizes + np.roll(sizes, 1)) * np.sqrt(stretch) * 0.92 + gap
    angles = np.cumsum(2 * np.arcsin(np.minimum(apart / (2 * bend), 0.97)))
    # Lobes that would run into the first one again are crowded together instead.
    angles *= min(1, 5.6 * (lobes - 1) / lobes / max(angles[-1] - angles[0], 1e-6))
    angles += rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.06, lobes)
    distances = bend * rng.normal(1, 0.10, lobes)
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1) * distances[:, None]
    centres -= np.average(centres, axis=0, weights=sizes**2) * rng.uniform(0.75, 1)
    centres += rng.normal(0, 0.04 * radius, 2)
    shape = None
    for i in range(lobes):
        long = sizes[i] * np.sqrt(stretch * rng.uniform(0.85, 1.2))
        lobe = ellipse(
            x,
            y,
            centre=tuple(centres[i]),
            half_axes=(long, sizes[i] ** 2 / long),
            angle=angles[i] + np.pi / 2 + rng.normal(0, 0.35),
        )
        shape = lobe if shape is None else np.minimum(shape, lobe)
    for i in range(1, lobes):
        thread = capsule(
            x, y, start=tuple(centres[i - 1]), end=tuple(centres[i]), radius=neck * radius
        )
        shape = union(shape, thread, 0.06 * radius)
    return shape


def _count_of_lobes(label: str, rng) -> int:
    return rng.choice(list(LOBES[label]), p=list(LOBES[label].values()))


def _eosinophil(x, y, *, radius, ratio, variant, rng):
    return _lobed(
        x,
        y,
        radius=radius,
        ratio=ratio,
        lobes=_count_of_lobes("eosinophil", rng),
        span=rng.uniform(0.40, 0.55),
        stretch=rng.uniform(1.0, 1.35),
        neck=rng.uniform(0.02, 0.07),
        rng=rng,
    )


def _neutrophil(x, y, *, radius, ratio, variant, rng):
    if variant == "band":
        return _band(x, y, radius=radius, ratio=ratio, rng=rng)
    return _lobed(
        x,
        y,
        radius=radius,
        ratio=ratio,
        lobes=_count_of_lobes("neutrophil", rng),
        span=rng.uniform(0.40, 0.56),
        stretch=rng.uniform(1.25, 1.8),
        neck=rng.choice([rng.uniform(0.02, 0.04), rng.uniform(0.06, 0.12)], p=[0.75, 0.25]),
        rng=rng,
    )


def _band(x, y, *, radius, ratio, rng):
    """Draw one bent rod without filaments, its thickness set by the wanted area."""
    bend = radius * rng.uniform(0.40, 0.55)
    half_span = rng.uniform(1.2, 2.2)
    angle = rng.uniform(0, 2 * np.pi)
    # Area of the rod with its round ends: 4 s r h + pi h^2; solved for h.
    area, length = ratio * np.pi * radius**2, 4 * half_span * bend
    half_width = (np.sqrt(length**2 + 4 * np.pi * area) - length) / (2 * np.pi)
    middle = bend * np.sin(half_span) / half_span
    centre = (-middle * np.cos(angle), -middle * np.sin(angle))
    return arc(
        x,
        y,
        centre=centre,
        radius=bend,
        half_span=half_span,
        angle=angle,
        half_width=half_width,
    )


def _lymphocyte(x, y, *, radius, ratio, variant, rng):
    """Draw a round nucleus, a little off the middle, at times with a shallow dent."""
    size, angle = radius * np.sqrt(ratio), rng.uniform(0, 2 * np.pi)
    away = (radius - size) * rng.uniform(0.1, 0.75)
    centre = (away * np.cos(angle), away * np.sin(angle))
    stretch = rng.uniform(1.0, 1.18)
    axes = (size * stretch, size / stretch)
    shape = ellipse(x, y, centre=centre, half_axes=axes, angle=rng.uniform(0, np.pi))
    if rng.random() < 0.3:
        shape = _dent(shape, x, y, centre=centre, size=size, depth=rng.uniform(0.08, 0.3), rng=rng)
    return shape


def _monocyte(x, y, *, radius, ratio, variant, rng):
    """Draw a kidney or a folded nucleus of two broad lobes; look-alikes have other nuclei."""
    if variant == "horseshoe nucleus":
        return _band(x, y, radius=radius * 0.95, ratio=ratio, rng=rng)
    if variant == "round nucleus":
        return _lymphocyte(x, y, radius=radius, ratio=ratio, variant=variant, rng=rng)
    size = radius * np.sqrt(ratio)
    angle = rng.uniform(0, 2 * np.pi)
    away = (radius - size) * rng.uniform(0.2, 0.8)
    centre = (away * np.cos(angle), away * np.sin(angle))
    if rng.random() < 0.6:
        axes = (size * rng.uniform(1.1, 1.25), size * rng.uniform(0.95, 1.05))
        shape = ellipse(x, y, centre=centre, half_axes=axes, angle=angle + np.pi / 2)
        depth = rng.uniform(0.45, 0.9)
        return _dent(shape, x, y, centre=centre, size=size, depth=depth, rng=rng)
    turn = rng.uniform(0, np.pi)
    shape = None
    for side in (-1, 1):
        offset = side * size * rng.uniform(0.35, 0.5)
        middle = (centre[0] + offset * np.cos(turn), centre[1] + offset * np.sin(turn))
        lobe = ellipse(
            x,
            y,
            centre=middle,
            half_axes=(size * rng.uniform(0.75, 0.95), size * rng.uniform(0.6, 0.75)),
            angle=turn + np.pi / 2 + rng.normal(0, 0.4),
        )
        shape = lobe if shape is None else union(shape, lobe, 0.15 * radius)
    return shape


def _dent(shape, x, y, *, centre, size, depth, rng):
    """Press a round dent into a shape, `depth` of its size deep, on the side of the cell's bulk."""
    towards = np.arctan2(-centre[1], -centre[0]) + rng.normal(0, 0.5)
    blunt = size * rng.uniform(0.3, 0.55)
    away = size * (1.05 - depth) + blunt
    at = (centre[0] + away * np.cos(towards), centre[1] + away * np.sin(towards))
    dent = ellipse(x, y, centre=at, half_axes=(blunt, blunt * 0.8), angle=towards)
    return -union(-shape, dent, 0.4 * size)


_SHAPES = {
    "eosinophil": _eosinophil,
    "lymphocyte": _lymphocyte,
    "monocyte": _monocyte,
    "neutrophil": _neutrophil,
}
