"""Find white cells, red cells and platelets on whole photographs, with the shipped network.

A photograph is brought to one scale by its red cells (`fields.scale`) and looked at tile by tile,
so that memory does not grow with it. `network.detector` trains the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hv_utils.fields.scale import Scale, measure_scale
from hv_utils.fields.view import GROUND, neutral
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.onnx_model import INPUT, SHIPPED_MODEL, open_session

WHITE, RED, PLATELET = FIELD_KINDS = ("white", "red", "platelet")
DETECTOR = SHIPPED_MODEL.with_name("detector.onnx")
FIELD_UM = 0.2  # µm a pixel at which the network looks: a red cell has 37 pixels
THRESHOLDS, SCALE = "thresholds", "um_per_pixel"  # facts in the graph's metadata
STRIDE = 4  # pixels of a cell of the network's grid
WHOLE = 16  # sides are multiples of it
TILE, SEAM = 768, 160  # side of a tile; how much of it the next one sees, too: 32 µm
LEAST_SCORE = 0.05  # below it nothing is a find, whatever the threshold
SAME = 0.5  # overlap from which on two finds of a kind are one cell


@dataclass(frozen=True)
class Finds:
    """The cells found in a field.

    Attributes
    ----------
    kinds : numpy.ndarray, shape (F,), int
        Positions in `FIELD_KINDS`.
    scores : numpy.ndarray, shape (F,), float32
        0 to 1, the surest first.
    boxes : numpy.ndarray, shape (F, 4), float32
        xmin, ymin, xmax, ymax in pixels of the field, clipped to it.
    """

    kinds: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    def of(self, kind: str) -> Finds:
        """Return the finds of one kind."""
        return self.where(self.kinds == FIELD_KINDS.index(kind))

    def where(self, kept: np.ndarray) -> Finds:
        """Return the finds that a mask keeps."""
        return Finds(self.kinds[kept], self.scores[kept], self.boxes[kept])


class Detector:
    """The network and the thresholds that were chosen on validation fields.

    Parameters
    ----------
    graph : bytes
        Contents of an ONNX file from `network.detector.write_detector`.
    threads : int
        Of one call.
    name : str or Path
        Of the graph, for errors.

    Raises
    ------
    HematoVisionError
        Where it is no detector, or one of another version.
    """

    def __init__(self, graph: bytes, *, threads: int = 1, name: str | Path = "the graph") -> None:
        self.session = open_session(graph, threads=threads, name=name)
        facts = self.session.get_modelmeta().custom_metadata_map
        try:
            chosen, um = json.loads(facts[THRESHOLDS]), json.loads(facts[SCALE])
            self.thresholds = np.array([chosen[kind] for kind in FIELD_KINDS], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise HematoVisionError(
                f"expected a detector of cells, but {name} is another model ({error}): leave it "
                "out, or train one with scripts/train_detector.py"
            ) from error
        if um != FIELD_UM:
            raise HematoVisionError(
                f"expected a detector for fields of {FIELD_UM:g} µm a pixel, but {name} takes "
                f"{um:g}: it was made by another version; train it again"
            )

    @classmethod
    def load(cls, path: str | Path = DETECTOR, *, threads: int = 1) -> Detector:
        """Load a detector from its file."""
        try:
            graph = Path(path).read_bytes()
        except OSError as error:
            raise HematoVisionError(
                f"expected a detector at {path}, but it cannot be read ({error.strerror}): check "
                "the path, or fetch the project again"
            ) from error
        return cls(graph, threads=threads, name=path)

    def __call__(self, image: np.ndarray, *, um_per_pixel: float | None = None) -> Finds:
        """Find the cells of a field.

        Parameters
        ----------
        image : numpy.ndarray, shape (H, W, 3), uint8
            RGB.
        um_per_pixel : float, optional
            The scale where it is known; by default the red cells are measured.

        Returns
        -------
        Finds
            Those above their kind's threshold.

        Raises
        ------
        HematoVisionError
            As `fields.scale.measure_scale`.
        """
        scale, stain = measure_scale(image, um_per_pixel)
        return self.sure(self.candidates(image, scale, stain.ground))

    def sure(self, found: Finds) -> Finds:
        """Return the finds above their kind's threshold."""
        return found.where(found.scores >= self.thresholds[found.kinds])

    def candidates(self, image: np.ndarray, scale: Scale, ground: np.ndarray) -> Finds:
        """Return all that the network takes for a cell, from `LEAST_SCORE` on.

        Parameters
        ----------
        image : numpy.ndarray, shape (H, W, 3), uint8
        scale : Scale
            Of the field.
        ground : numpy.ndarray, shape (3,), float
            Colour of its empty ground.
        """
        field = at_scale(image, scale.um_per_pixel, ground)
        found = [Finds(np.zeros(0, int), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))]
        found += [self._in_tile(*tile) for tile in tiles(field)]
        kinds, scores, boxes = (
            np.concatenate([getattr(one, name) for one in found])
            for name in ("kinds", "scores", "boxes")
        )
        kept = _once_each(kinds, scores, boxes)
        high, wide = image.shape[:2]
        zoom = np.array([wide / field.shape[1], high / field.shape[0]] * 2, np.float32)
        boxes = np.clip(boxes[kept] * zoom, 0, np.array([wide, high] * 2, np.float32))
        return Finds(kinds[kept], scores[kept], boxes)

    def _in_tile(self, tile: np.ndarray, corner: np.ndarray, core: np.ndarray) -> Finds:
        """Find the cells whose middles lie in a tile's core; corners in pixels of the field."""
        heat, reach = self.session.run(None, {INPUT: tile[None]})
        kinds, rows, columns = _peaks(heat[0])
        scores, reach = heat[0][rows, columns, kinds], reach[0][rows, columns]
        x, y = columns + 0.5, rows + 0.5
        boxes = np.stack(
            [x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], axis=1
        )
        boxes = (boxes * STRIDE + np.tile(corner, 2)).astype(np.float32)
        # The peak, not the box's middle: a box may differ a little from tile to tile.
        place = np.stack([x, y], axis=1) * STRIDE + corner
        inside = ((place >= core[:2]) & (place < core[2:])).all(axis=1)
        return Finds(kinds, scores, boxes).where(inside)


def at_scale(image: np.ndarray, um_per_pixel: float, ground: np.ndarray) -> np.ndarray:
    """Bring a field to the network's scale, on neutral ground.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    um_per_pixel : float
    ground : numpy.ndarray, shape (3,), float
        Colour of the empty ground.

    Returns
    -------
    numpy.ndarray, shape (h, w, 3), uint8
        `FIELD_UM` a pixel.
    """
    zoom = um_per_pixel / FIELD_UM
    size = tuple(max(WHOLE, round(side * zoom)) for side in image.shape[1::-1])
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return neutral(cv2.resize(image, size, interpolation=way), ground)


def tiles(field: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cut a field into tiles that overlap; their cores do not, and fill it.

    Parameters
    ----------
    field : numpy.ndarray, shape (h, w, 3), uint8

    Yields
    ------
    tile : numpy.ndarray, shape (high, wide, 3), uint8
        Sides multiples of 16, at most `TILE`, filled up with ground.
    corner : numpy.ndarray, shape (2,), int
        x and y of its upper left corner in the field.
    core : numpy.ndarray, shape (4,), float
        xmin, ymin, xmax, ymax, in the field, of what no other tile answers for.
    """
    high, wide = field.shape[:2]
    for y, top, bottom in _steps(high):
        for x, left, right in _steps(wide):
            part = field[y : y + TILE, x : x + TILE]
            more = [(0, -side % WHOLE) for side in part.shape[:2]]
            tile = np.pad(part, (*more, (0, 0)), constant_values=GROUND)
            yield tile, np.array([x, y]), np.array([left, top, right, bottom])


def _steps(length: int) -> Iterator[tuple[int, float, float]]:
    """Yield where tiles begin along a side, and from where to where each answers."""
    starts = range(0, max(1, length - SEAM), TILE - SEAM)
    for start in starts:
        low = start + SEAM / 2 if start else -np.inf
        high = start + TILE - SEAM / 2 if start != starts[-1] else np.inf
        yield start, low, high


def _peaks(heat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kind, row and column of the cells of the grid that no neighbour tops."""
    # OpenCV's own border counts as lowest; for a maximum that is right.
    top = np.dstack([cv2.dilate(heat[..., kind], np.ones((3, 3))) for kind in range(heat.shape[2])])
    rows, columns, kinds = np.nonzero((heat >= top) & (heat >= LEAST_SCORE))
    return kinds, rows, columns


def _once_each(kinds: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the finds without those that a surer one of their kind covers, the surest first."""
    if not len(scores):
        return np.zeros(0, int)
    corners = [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes.astype(float)]
    kept = cv2.dnn.NMSBoxesBatched(corners, scores.tolist(), kinds.tolist(), LEAST_SCORE, SAME)
    kept = np.asarray(kept, int)
    return kept[np.argsort(-scores[kept], kind="stable")]
