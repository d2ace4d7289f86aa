"""What a model is shown of a picture: the whole of it resized, or each white cell by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.reading import SentImage, read_image, read_resized
from hv_utils.inference.onnx_model import NOT_A_CELL, UNREADABLE, UNSURE

VIEW, RESIZED, STANDARD = "view", "resized", "standard"  # a fact of a model, and what it can be
HUE = "hue"  # a fact of a model of standard views: that of the nuclear stain which it learnt
LARGEST = "largest_um2"  # another: by class, what a stained area may have at most
LEARNT_SHARES = "learnt_shares"  # another: by class, how often it was shown in training
PLACE = ("cell", "x", "y")  # columns of the table where pictures are searched for cells


@dataclass(frozen=True)
class Shown:
    """One image for the network, or the reason why there is none.

    Attributes
    ----------
    image : numpy.ndarray or None
        Shape (height, width, 3), uint8; None where there is nothing to judge.
    status : str
        Of `unsure`, `not_a_cell` and `unreadable`, where it is known beforehand.
    reason : str
        Why, in one line.
    place : dict
        The columns of `PLACE`: `cell`, the number of the cell in its picture, from 1 on, the most
        prominent first; `x` and `y`, its middle in pixels from the left and upper edge. Empty
        where whole pictures are judged.
    barred : tuple of str
        Classes that it is too large for.
    """

    image: np.ndarray | None
    status: str = ""
    reason: str = ""
    place: Mapping[str, float] | None = None
    barred: tuple[str, ...] = ()


Picture = Path | SentImage
Preparation = Callable[[Picture], list[Shown]]


def preparation_of(facts: Mapping[str, Any], *, um_per_pixel: float | None = None) -> Preparation:
    """Return what turns an image file into what a model takes.

    Parameters
    ----------
    facts : mapping
        Of the model: `size`, and `view`, which is `resized` where nothing is said, or `standard`
        (see `fields.view`), then with `um_per_pixel`, `hue` where the nuclear stain is given the
        one that the model has learnt, and `largest_um2` where classes have a largest size.
    um_per_pixel : float, optional
        Scale of the pictures, for a model of standard views; by default the red cells in each are
        measured.

    Returns
    -------
    callable
        Takes a path or a `SentImage` and returns a list of `Shown`, one at least. It raises
        nothing.

    Raises
    ------
    HematoVisionError
        For a scale that no picture of a smear has, or that would have no effect, and for a view
        that is unknown here.
    """
    size, view = tuple(facts["size"]), facts.get(VIEW, RESIZED)
    if view == STANDARD:
        from hv_utils.fields.scale import check_scale
        from hv_utils.fields.view import VIEW_UM

        if facts["um_per_pixel"] != VIEW_UM:
            raise HematoVisionError(
                f"expected a model of views of {VIEW_UM:g} µm a pixel, but this one takes "
                f"{facts['um_per_pixel']:g}: it was made by another version; train it again"
            )
        check_scale(um_per_pixel)
        options = {"hue": facts.get(HUE), "largest_um2": facts.get(LARGEST, {})}
        options |= {"side": size[0], "um_per_pixel": um_per_pixel}
        nowhere = dict.fromkeys(PLACE, float("nan"))
        return lambda path: _told(lambda: cells_of(path, **options), nowhere)
    if view != RESIZED:
        raise HematoVisionError(
            f"expected a model of resized pictures or of standard views, but its view is {view!r}: "
            "it was made by a later version; update HematoVision"
        )
    if um_per_pixel is not None:
        raise HematoVisionError(
            f"expected no --um-per-pixel, but got {um_per_pixel:g}: this model takes whole "
            "pictures, resized, whatever their scale; leave it out, or name a model of cells"
        )
    return lambda path: _told(lambda: [Shown(read_resized(path, size))])


def _told(read: Callable[[], list[Shown]], place: Mapping[str, float] | None = None) -> list[Shown]:
    """Turn a refused picture into a row that says so."""
    try:
        return read()
    except HematoVisionError as error:
        return [Shown(None, UNREADABLE, str(error), place)]


def cells_of(
    path: Picture,
    *,
    side: int,
    hue: Sequence[float] | None = None,
    largest_um2: Mapping[str, float] = MappingProxyType({}),
    um_per_pixel: float | None = None,
) -> list[Shown]:
    """Find the white cells of a picture and bring each to the standard view.

    Parameters
    ----------
    path : Path or SentImage
    side : int
        Of the views, in pixels.
    hue : sequence of float, optional
        See `fields.view.in_hue`.
    largest_um2 : mapping of str to float
        Largest stained area of a class, in µm²: a cell above it is barred from the class. A view
        alone cannot tell, since a network is taught to make little of scale.
    um_per_pixel : float, optional

    Returns
    -------
    list of Shown
        One a white cell; where there is none, the most prominent small one, a platelet or a speck;
        `not_a_cell`, without an image, where nothing stands out. A cell that the edge cuts off is
        `unsure`.

    Raises
    ------
    HematoVisionError
        Where the file cannot be read.
    """
    from hv_utils.fields.finder import find_cells
    from hv_utils.fields.view import by_prominence, in_hue, standard_view

    image = read_image(path)
    finding = find_cells(image, um_per_pixel=um_per_pixel)
    cells = by_prominence(finding)
    if not cells:
        what = "only red cells" if finding.ruler == "red cells" else "nothing stained like one"
        reason = f"expected a white cell in view, but {path} shows {what}: choose another field"
        return [Shown(None, NOT_A_CELL, reason, dict.fromkeys(PLACE, float("nan")))]
    if cells[0].kind != "white":
        cells = cells[:1]
    shown = []
    for number, cell in enumerate(cells, 1):
        status, reason = "", ""
        if cell.cut:
            status = UNSURE
            reason = (
                f"expected whole cells, but the edge cuts off cell {number} of {path}, at "
                f"{cell.x:.0f}, {cell.y:.0f}: it counts as unsure; move the field to see all of it"
            )
        place = {"cell": number, "x": round(cell.x, 1), "y": round(cell.y, 1)}
        view = standard_view(image, finding, cell, side=side)
        view = view if hue is None else in_hue(view, hue)
        barred = tuple(name for name, most in largest_um2.items() if cell.nucleus_um2 > most)
        shown.append(Shown(view, status, reason, place, barred))
    return shown
