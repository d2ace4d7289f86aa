"""The strokes that the drawn smear is made of: rough outlines, distances, smooth noise, stain.

Everything is laid down as optical density, the way stain takes up light (Beer and Lambert; see
`macenko2009`): densities of things that overlap add up, and the photo is the lamp's light times
`exp(-density)`. Lengths are pixels, distances are signed and negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PLASMA = (205.0, 206.0, 201.0)
"""RGB of bare plasma under the lamp: the brightest fifth of the real photos has this median."""


def density(red: float, green: float, blue: float) -> np.ndarray:
    """Return the optical density that turns `PLASMA` into a colour, shape (3,), float32."""
    wanted = np.array([red, green, blue], np.float32)
    return -np.log(wanted / np.array(PLASMA, np.float32))


def smooth_noise(
    shape: tuple[int, int], scale: float, rng: np.random.Generator, *, centred: bool = True
) -> np.ndarray:
    """Return random hills about `scale` pixels wide.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    scale : float
        Distance between neighbouring random values, pixels; at least 1.
    rng : numpy.random.Generator
        Source of randomness.
    centred : bool
        Bring the values to mean 0 and standard deviation 1.

    Returns
    -------
    numpy.ndarray
        Shape `shape`, float32.
    """
    height, width = shape
    rows, columns = max(int(height / scale), 1) + 3, max(int(width / scale), 1) + 3
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    # A shift by part of a step keeps the grid's lines out of the picture.
    shift = rng.random(2) * scale
    to_grid = np.array([[1 / scale, 0, shift[0] / scale], [0, 1 / scale, shift[1] / scale]])
    noise = cv2.warpAffine(
        grid,
        to_grid,
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    if centred:
        mean, deviation = cv2.meanStdDev(noise)
        noise = (noise - np.float32(mean[0, 0])) / np.float32(deviation[0, 0] + 1e-6)
    return noise


def step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return 1 inside and 0 outside, with a smooth edge `width` pixels wide (float32)."""
    share = np.clip(0.5 - distance / np.float32(width), 0, 1)
    return share * share * (3 - 2 * share)


def union(first: np.ndarray, second: np.ndarray, softness: float) -> np.ndarray:
    """Join two shapes given by signed distances, rounding the corner between them.

    The polynomial smooth minimum of I. Quilez; `softness` is the width of the join in pixels.
    """
    mix = np.maximum(softness - np.abs(first - second), 0) / np.float32(softness)
    return np.minimum(first, second) - mix * mix * np.float32(softness / 4)


def ellipse(
    x: np.ndarray,
    y: np.ndarray,
    *,
    centre: tuple[float, float],
    half_axes: tuple[float, float],
    angle: float,
) -> np.ndarray:
    """Return the signed distance to an ellipse (to first order, exact for a circle)."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    along, across = cosine * x + sine * y, cosine * y - sine * x
    a, b = (np.float32(length) for length in half_axes)
    scaled = np.sqrt((along / a) ** 2 + (across / b) ** 2)
    return (scaled - 1) * np.sqrt(a * b)


def capsule(
    x: np.ndarray,
    y: np.ndarray,
    *,
    start: tuple[float, float],
    end: tuple[float, float],
    radius: float,
) -> np.ndarray:
    """Return the signed distance to a line from `start` to `end`, `radius` thick on each side."""
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    x, y = x - np.float32(start[0]), y - np.float32(start[1])
    share = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
    return np.hypot(x - share * dx, y - share * dy) - np.float32(radius)


def arc(
    x: np.ndarray,
    y: np.ndarray,
    *,
    centre: tuple[float, float],
    radius: float,
    half_span: float,
    angle: float,
    half_width: float,
) -> np.ndarray:
    """Return the signed distance to a bent sausage.

    Parameters
    ----------
    x, y : numpy.ndarray
        Where to measure.
    centre : tuple of float
        Centre of the bend.
    radius, half_width : float
        Radius of the bend; half the thickness of the sausage.
    half_span, angle : float
        Half the angle that the sausage spans, and the direction of its middle, in radians.

    Returns
    -------
    numpy.ndarray
        Shape of `x`, float32.
    """
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    turned = np.arctan2(y, x) - np.float32(angle)
    turned = np.abs((turned + np.pi) % (2 * np.pi) - np.pi).astype(np.float32)
    # Past the ends, the nearest point is the end itself.
    reach = np.minimum(turned, np.float32(half_span))
    from_bend = np.hypot(x, y)
    beyond = turned - reach
    squared = from_bend**2 + radius**2 - 2 * from_bend * np.float32(radius) * np.cos(beyond)
    return np.sqrt(np.maximum(squared, 0)) - np.float32(half_width)


@dataclass(frozen=True)
class Outline:
    """A rough closed line round the origin: a circle plus a few waves.

    Attributes
    ----------
    radius : float
        Radius of the circle of the same area, pixels.
    waves : numpy.ndarray, shape (n, 3)
        Frequency, amplitude (share of the radius) and phase of each wave.
    """

    radius: float
    waves: np.ndarray

    @classmethod
    def draw(
        cls,
        radius: float,
        rng: np.random.Generator,
        *,
        oval: float = 0.06,
        rough: float = 0.02,
        finest: int = 7,
    ) -> Outline:
        """Draw an outline at random: `oval` stretches it, `rough` dents it (typical amplitudes)."""
        frequency = np.arange(2, finest + 1)
        typical = np.where(frequency == 2, oval, rough * np.sqrt(3 / frequency))
        amplitude = typical * rng.normal(1, 0.3, len(frequency))
        phase = rng.uniform(0, 2 * np.pi, len(frequency))
        return cls(radius, np.stack([frequency, amplitude, phase], axis=1))

    def radii(self, angle: np.ndarray) -> np.ndarray:
        """Return the distance from the origin to the line in each direction, float32."""
        wave = np.zeros_like(angle)
        for frequency, amplitude, phase in self.waves.astype(np.float32):
            wave += amplitude * np.cos(frequency * angle + phase)
        keeps_area = 1 / np.sqrt(1 + (self.waves[:, 1] ** 2).sum() / 2)
        return (1 + wave) * np.float32(self.radius * keeps_area)

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the signed distance to the line, measured along the ray from the origin."""
        # A table of the radii is four times as fast as a cosine for every pixel and wave.
        steps = 512
        table = self.radii(np.linspace(0, 2 * np.pi, steps, endpoint=False, dtype=np.float32))
        index = cv2.phase(x, y) * np.float32(steps / (2 * np.pi))
        return np.hypot(x, y) - table[index.astype(np.int32) % steps]


def patch_grid(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every pixel of a square patch about the origin, float32.

    The patch reaches `radius` pixels in each direction; its side is odd.
    """
    reach = int(np.ceil(radius))
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    return np.meshgrid(axis, axis)
