"""Boxes in the PASCAL VOC format, which the photos' annotations use."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hv_utils.ground.errors import HematoVisionError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
WHITE_CELL, RED_CELL, PLATELETS = "WBC", "RBC", "Platelets"  # the names of the data set


@dataclass(frozen=True)
class Box:
    """One annotated cell.

    Attributes
    ----------
    name : str
        `WHITE_CELL`, `RED_CELL` or `PLATELETS` in the data set.
    xmin, ymin, xmax, ymax : int
        Corners in pixels of the photo, x to the right and y down.
    """

    name: str
    xmin: int
    ymin: int
    xmax: int
    ymax: int


def annotation_path(photo: str | Path) -> Path:
    """Return where the data set keeps the annotation of a photo, whether it exists or not.

    `…/JPEGImages/BloodImage_00007.jpg` has `…/Annotations/BloodImage_00007.xml`.
    """
    photo = Path(photo)
    return photo.parent.parent / "Annotations" / f"{photo.stem}.xml"


def read_boxes(path: str | Path) -> list[Box]:
    """Read the boxes of one photo.

    Parameters
    ----------
    path : str or Path
        A PASCAL VOC file (XML).

    Returns
    -------
    list of Box
        In the order of the file; empty where it annotates nothing.

    Raises
    ------
    HematoVisionError
        Where there is no such file, it is no VOC file, or a box lacks a corner or is inside out.
    """
    path = Path(path)
    try:
        root = ET.parse(path).getroot()
    except OSError as error:
        raise HematoVisionError(
            f"expected an annotation file at {path}, but it cannot be read ({error.strerror}): "
            "check the path, or unpack the archive again"
        ) from error
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise HematoVisionError(
            f"expected a PASCAL VOC file, but {path} is not XML ({error}): "
            "it is damaged or of another format; fetch it again"
        ) from error
    return [_box(element, path) for element in root.iter("object")]


def white_cell(boxes: Iterable[Box]) -> Box | None:
    """Return the box of the white cell that a photo is labelled by, None where there is none.

    Where several boxes are called so, it is the largest: the others are slivers at the edge.
    """
    white = [box for box in boxes if box.name == WHITE_CELL]
    return max(white, key=lambda box: (box.xmax - box.xmin) * (box.ymax - box.ymin), default=None)


def _box(element: ET.Element, path: Path) -> Box:
    try:
        name = element.findtext("name", default="").strip()
        # Some tools write corners as decimals.
        corners = [round(float(element.findtext(f"bndbox/{key}", ""))) for key in CORNERS]
    except (ValueError, OverflowError) as error:
        raise HematoVisionError(
            f"expected four numbers {', '.join(CORNERS)} for every object, but {path} has one "
            f"without ({error}): the annotation is incomplete; mend or remove it"
        ) from error
    xmin, ymin, xmax, ymax = corners
    if xmin > xmax or ymin > ymax:
        raise HematoVisionError(
            f"expected a box with xmin <= xmax and ymin <= ymax, but {path} has "
            f"({xmin}, {ymin}, {xmax}, {ymax}): its corners are swapped; mend the annotation"
        )
    return Box(name, *corners)


def write_boxes(
    path: str | Path, boxes: Iterable[Box], *, photo: str, size: tuple[int, int]
) -> Path:
    """Write the boxes of one photo as a PASCAL VOC file.

    Parameters
    ----------
    path : str or Path
        The file to write, in a folder that exists.
    boxes : iterable of Box
        What to write, in this order.
    photo : str
        File name of the photo.
    size : tuple of int
        Height and width of the photo in pixels. A box that touches its edge is called truncated.

    Returns
    -------
    Path
        The file.
    """
    height, width = size
    root = ET.Element("annotation")
    _add(root, folder="JPEGImages", filename=photo)
    _add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for box in boxes:
        touches = box.xmin <= 1 or box.ymin <= 1 or box.xmax >= width or box.ymax >= height
        element = ET.SubElement(root, "object")
        _add(element, name=box.name, pose="Unspecified", truncated=int(touches), difficult=0)
        corners = {key: getattr(box, key) for key in CORNERS}
        _add(ET.SubElement(element, "bndbox"), **corners)
    ET.indent(root, "\t")
    path = Path(path)
    path.write_text(ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    return path


def _add(parent: ET.Element, **children: object) -> None:
    for tag, value in children.items():
        ET.SubElement(parent, tag).text = str(value)
