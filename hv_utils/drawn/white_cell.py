"""One white cell: outline, cytoplasm with its granules and vacuoles, nucleus with its chromatin.

Sizes and nucleus-to-cell ratios come from `labels.MORPHOLOGY`; colours are those of a Wright-Giemsa
smear seen by a camera that makes it look cool, as the real photos are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hv_utils.drawn.drawing import Outline, density, patch_grid, smooth_noise, step
from hv_utils.drawn.nucleus import draw_nucleus, fit
from hv_utils.drawn.variants import TYPICAL, draw_variant, shares_of
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import MICROMETRES_PER_PIXEL, MORPHOLOGY


@dataclass(frozen=True)
class Look:
    """How the parts of a class are coloured and textured.

    Attributes
    ----------
    nucleus, cytoplasm : numpy.ndarray, shape (3,)
        Optical densities.
    oval, rough : float
        Typical deviation of the cell's outline from a circle; see `Outline.draw`.
    edge : float
        Width of the cell's soft edge, pixels.
    margin : float
        Least distance from nucleus to cell edge, as a share of the radius.
    """

    nucleus: np.ndarray
    cytoplasm: np.ndarray
    oval: float
    rough: float
    edge: float
    margin: float


LOOKS = {
    "eosinophil": Look(density(133, 97, 200), density(213, 179, 189), 0.05, 0.020, 5, 0.03),
    "lymphocyte": Look(density(121, 95, 199), density(152, 160, 205), 0.06, 0.020, 5, 0.02),
    "monocyte": Look(density(148, 118, 210), density(177, 180, 201), 0.08, 0.035, 8, 0.03),
    "neutrophil": Look(density(133, 96, 207), density(213, 186, 202), 0.05, 0.018, 5, 0.03),
}
ORANGE_RED = density(202, 128, 121)
ROSE = density(190, 138, 170)
LILAC = density(172, 138, 200)
BARED = (0.1, 0.6)
"""Where a hypogranular eosinophil keeps its granules: above so many deviations of random hills."""


@dataclass(frozen=True)
class WhiteCell:
    """A drawn white cell on its patch.

    Attributes
    ----------
    density : numpy.ndarray, shape (S, S, 3), float32
        Optical density of the azure stain (nucleus, blue cytoplasm, lilac granules).
    eosin : numpy.ndarray, shape (S, S, 3), float32
        Optical density of what eosin stains (pink cytoplasm, orange-red granules).
    cover : numpy.ndarray, shape (S, S), float32
        0 to 1: how much the cell hides what lies below.
    cell, nucleus : numpy.ndarray, shape (S, S), bool
        The true outlines.
    variant : str
        What was drawn of the class, see `variants`.
    """

    density: np.ndarray
    eosin: np.ndarray
    cover: np.ndarray
    cell: np.ndarray
    nucleus: np.ndarray
    variant: str = TYPICAL


def draw_white_cell(
    label: str, *, rng: np.random.Generator, contraction: float = 1, variant: str | None = None
) -> WhiteCell:
    """Draw one white cell.

    Parameters
    ----------
    label : str
        One of `LOOKS`.
    rng : numpy.random.Generator
        Source of randomness.
    contraction : float
        Share of its spread diameter that the cell has: below 1 in the thick part of a film.
    variant : str, optional
        One of the class's variants, see `variants.shares_of`; by default drawn at their rates.

    Returns
    -------
    WhiteCell

    Raises
    ------
    HematoVisionError
        For a class that has no look here, or a variant that the class does not have.
    """
    if label not in LOOKS:
        raise HematoVisionError(
            f"expected a class that can be drawn ({', '.join(LOOKS)}), but got {label!r}: "
            "the demo draws these alone; use your own images for another class"
        )
    variant = draw_variant(label, rng) if variant is None else variant
    if variant not in shares_of(label):
        raise HematoVisionError(
            f"expected a variant of {label} ({', '.join(shares_of(label))}), but got {variant!r}: "
            "check its name"
        )
    look = LOOKS[label]
    reactive = variant == "reactive"
    radius = draw_diameter(label, rng, large=reactive) * contraction / 2
    ratio = draw_ratio(label, rng, low=reactive)
    rough = look.rough * (2.2 if reactive else 1)
    outline = Outline.draw(radius, rng, oval=look.oval, rough=rough)
    x, y = patch_grid(radius * 1.35 + 6)
    cell = outline.distance(x, y)
    shape = draw_nucleus(label, x, y, radius=radius, ratio=ratio, rng=rng, variant=variant)
    margin = look.margin * radius
    nucleus = fit(shape, cell, ratio=ratio, margin=margin, tolerance=0.06 * radius)
    paint = _PAINTS[label]
    azure, eosin = paint(look, cell, nucleus, radius=radius, variant=variant, rng=rng)
    cover = step(cell, look.edge)
    azure *= cover[..., None]
    eosin *= cover[..., None]
    return WhiteCell(azure, eosin, cover, cell < 0, nucleus < 0, variant)


def draw_diameter(label: str, rng: np.random.Generator, *, large: bool = False) -> float:
    """Draw a diameter in pixels of a 640x480 photo from the class's usual range.

    Most cells lie below the middle of the range, whose upper end is for the rare large ones.
    """
    low, high = MORPHOLOGY[label].diameter_um
    typical, most = (0.72, 1.0) if large else (0.36, 0.62)
    share = np.clip(rng.normal(typical, 0.15), 0, most)
    drawn = low + share * (high - low)
    return float(drawn) / MICROMETRES_PER_PIXEL


def draw_ratio(label: str, rng: np.random.Generator, *, low: bool = False) -> float:
    """Draw a nucleus-to-cell area ratio around the measured median.

    The measured 10th and 90th percentiles lie 1.28 standard deviations from the middle of a normal
    distribution, which sets the spread; `low` gives the roomy cytoplasm of reactive cells.
    """
    cell = MORPHOLOGY[label]
    least, most = cell.nc_range
    middle = least if low else cell.nc_median
    return float(np.clip(rng.normal(middle, (most - least) / 2.56), least * 0.85, most * 1.1))


def _stain(amount: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return amount[..., None] * colour


def _nuclear(look: Look, nucleus: np.ndarray, texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the nucleus covers each pixel, and its density with a darker rim."""
    cover = step(nucleus, 4)
    rim = 1 + 0.10 * np.exp(-((nucleus + 3) ** 2) / 12)
    return cover, _stain(cover * rim * texture, look.nucleus)


def _clumped(shape, rng, *, strength: float) -> np.ndarray:
    """Return chromatin in dark clumps with paler lanes between, mean 1."""
    clumps = smooth_noise(shape, 12, rng) + 0.5 * smooth_noise(shape, 6, rng)
    return 1 + np.float32(strength) * np.tanh(1.8 * clumps)


def _lacy(shape, rng) -> np.ndarray:
    """Return chromatin as a net: even strands with pale meshes between."""
    lanes = np.exp(-((smooth_noise(shape, 15, rng) / 0.45) ** 2))
    folds = smooth_noise(shape, 26, rng)
    grain = smooth_noise(shape, 4, rng)
    return 1.10 - 0.26 * lanes + 0.08 * folds + 0.07 * grain


def _discs(
    shape, rng, *, spacing: float, radius: float, scatter: float = 0.3, keep: float = 1
) -> np.ndarray:
    """Return discs on a shaken hexagonal grid, 0 to 1, float32: granules seen one by one."""
    canvas = np.zeros(shape, np.uint8)
    rows = np.arange(0, shape[0], spacing * 0.87)
    columns = np.arange(0, shape[1], spacing)
    y = np.repeat(rows, len(columns)).reshape(len(rows), -1)
    x = np.tile(columns, (len(rows), 1))
    x[1::2] += spacing / 2
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    centres += rng.normal(0, scatter * spacing, centres.shape)
    centres = centres[rng.random(len(centres)) < keep]
    sizes = rng.normal(radius, 0.15 * radius, len(centres)).clip(0.8)
    tones = rng.integers(150, 256, len(centres))
    fixed = np.round(centres * 16).astype(int)  # 4 bits behind the point, for smooth places
    for (at_x, at_y), size, tone in zip(fixed.tolist(), sizes, tones.tolist(), strict=True):
        cv2.circle(canvas, (at_x, at_y), round(size * 16), tone, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(canvas, (0, 0), 0.8).astype(np.float32) / 255


def _eosinophil(look, cell, nucleus, *, radius, variant, rng):
    cover, azure = _nuclear(look, nucleus, _clumped(cell.shape, rng, strength=0.2))
    size = rng.uniform(0.36, 0.52) / MICROMETRES_PER_PIXEL / 2 * rng.uniform(1.0, 1.5)
    spacing, keep = size * rng.uniform(1.8, 2.3), rng.uniform(0.85, 1)
    granules = _discs(cell.shape, rng, spacing=spacing, radius=size, keep=keep)
    if variant == "hypogranular":  # smearing bares patches; the granules left are as coarse as ever
        hills = smooth_noise(cell.shape, radius * 0.4, rng)
        granules *= step(np.float32(rng.uniform(*BARED)) - hills, 0.5)
    eosin = _stain(rng.uniform(0.85, 1.15) * (1 - cover), look.cytoplasm)
    # The tone of the granules runs from orange to rose with the stain's batch.
    rose = rng.beta(1.2, 2)
    colour = ((1 - rose) * ORANGE_RED + rose * ROSE).astype(np.float32)
    eosin += _stain(granules * (1 - 0.94 * cover) * rng.uniform(0.65, 1.1), colour)
    return azure, eosin


def _lymphocyte(look, cell, nucleus, *, radius, variant, rng):
    dense = _clumped(cell.shape, rng, strength=0.13)
    reactive = variant == "reactive"
    if reactive:  # a roomy cell with loosened chromatin
        dense = dense * 0.9 + 0.06 * smooth_noise(cell.shape, 8, rng)
    cover, azure = _nuclear(look, nucleus, dense)
    rim = np.exp(-np.maximum(-cell, 0) / np.float32(0.10 * radius))
    blue = look.cytoplasm * rng.uniform(0.8, 1.15) if reactive else look.cytoplasm
    cytoplasm = 1 + 0.10 * smooth_noise(cell.shape, 12, rng) + rng.uniform(0.2, 0.7) * rim
    azure += _stain(cytoplasm * (1 - cover), blue)
    if rng.random() < 0.2:  # large granular lymphocytes carry a few
        few = _discs(cell.shape, rng, spacing=0.16 * radius, radius=2.2, keep=0.25)
        azure += _stain(few * (1 - cover) * 0.7, LILAC)
    return azure, np.zeros_like(azure)


def _monocyte(look, cell, nucleus, *, radius, variant, rng):
    cover, azure = _nuclear(look, nucleus, _lacy(cell.shape, rng))
    azure *= np.float32(rng.uniform(0.9, 1.15))
    ground = 1 + 0.14 * smooth_noise(cell.shape, 15, rng) + 0.08 * smooth_noise(cell.shape, 3, rng)
    cytoplasm = ground * (1 - cover) * rng.uniform(0.75, 1.25)
    dust = np.clip(smooth_noise(cell.shape, 2.2, rng) - 0.6, 0, 2)
    bubbles = 0
    if variant == TYPICAL:  # vacuoles give a monocyte away
        count = rng.choice([0, 4, 10, 20], p=[0.2, 0.3, 0.3, 0.2])
        bubbles = 0.75 * _vacuoles(cell, nucleus, count=count, rng=rng)
    azure += _stain(cytoplasm * (1 - bubbles), look.cytoplasm)
    azure += _stain(0.16 * dust * (1 - cover) * (1 - bubbles), LILAC)
    return azure, _stain((1 - cover) * rng.uniform(0, 0.25), LOOKS["neutrophil"].cytoplasm)


def _vacuoles(cell: np.ndarray, nucleus: np.ndarray, *, count: int, rng) -> np.ndarray:
    """Return unstained bubbles in the cytoplasm, 0 to 1, float32."""
    canvas = np.zeros(cell.shape, np.uint8)
    places = np.argwhere((cell < -8) & (nucleus > 4))
    for row, column in places[rng.integers(0, len(places), count if len(places) else 0)]:
        size = min(rng.uniform(2.5, 7.0), nucleus[row, column])
        cv2.circle(canvas, (int(column), int(row)), round(size), 255, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(canvas, (0, 0), 1.2).astype(np.float32) / 255


def _neutrophil(look, cell, nucleus, *, radius, variant, rng):
    cover, azure = _nuclear(look, nucleus, _clumped(cell.shape, rng, strength=0.24))
    body = 1 + 0.10 * smooth_noise(cell.shape, 18, rng)
    eosin = _stain(body * (1 - cover) * rng.uniform(0.7, 1.35), look.cytoplasm)
    toxic = variant == "toxic granulation"
    if toxic:  # coarse and dark, nearly as in an eosinophil, but violet and uneven
        size = rng.uniform(0.32, 0.44) / MICROMETRES_PER_PIXEL / 2
        coarse = _discs(cell.shape, rng, spacing=2.6 * size, radius=size, scatter=0.45, keep=0.8)
        return azure + _stain(coarse * (1 - cover) * 0.3, LILAC), 1.3 * eosin + _stain(
            coarse * (1 - cover) * rng.uniform(0.6, 0.9), ROSE
        )
    fine = smooth_noise(cell.shape, rng.uniform(2.0, 2.8), rng) * 0.5 + 0.25
    fine = np.clip(fine, 0, 1.6) * rng.uniform(0.2, 0.45)
    return azure + _stain(fine * (1 - cover), LILAC), eosin


_PAINTS = {
    "eosinophil": _eosinophil,
    "lymphocyte": _lymphocyte,
    "monocyte": _monocyte,
    "neutrophil": _neutrophil,
}
