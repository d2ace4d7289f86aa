"""Figures that show images: grids, boxes, augmentation, heat maps, verdicts."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hv_utils.figures.palette import BOX_COLOURS, RIGHT, WIDTH, WRONG, new_figure
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.voc import PLATELETS, RED_CELL, WHITE_CELL


def image_grid(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    columns: int = 4,
    title_colours: Sequence[str] | None = None,
    cmap: str | None = None,
) -> Figure:
    """Show images in rows, each under its title.

    Parameters
    ----------
    images : sequence of array, shape (H, W, 3) uint8, or (H, W)
        Sizes may differ.
    titles : sequence of str, optional
        One for each image; may hold line breaks.
    columns : int
        Images in a row.
    title_colours : sequence of str, optional
        Colour of each title.
    cmap : str, optional
        Colour map of two-dimensional images.

    Returns
    -------
    Figure
        As high as its images need.
    """
    if len(images) == 0:
        raise HematoVisionError(
            "expected at least one image to show, got none: the selection before it is empty; "
            "choose another class or split"
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    shape = np.median([np.shape(image)[:2] for image in images], axis=0)
    cell = WIDTH / max(columns, 2)
    high = cell * min(shape[0] / shape[1], 1.6)
    lines = [title.count("\n") + 1 for title in titles] if titles is not None else [0]
    words = sum(max(lines[at : at + columns]) for at in range(0, len(lines), columns))
    size = (cell * columns, rows * high + 0.19 * words + 0.04)
    fig, axes = new_figure(rows, columns, size=size, squeeze=False)
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i >= len(images):
            continue
        ax.imshow(images[i], cmap=cmap, interpolation="antialiased")
        if np.ndim(images[i]) == 2:  # a map may be as white as the page
            ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, ec="0.6"))
        if titles is not None:
            colour = title_colours[i] if title_colours is not None else "black"
            ax.set_title(titles[i], fontsize=9, color=colour, pad=3)
    return fig


def photo_with_boxes(image: np.ndarray, boxes: Iterable[Any], *, title: str = "") -> Figure:
    """Draw the annotated boxes over a photo.

    Parameters
    ----------
    image : array, shape (H, W, 3), uint8
        The photo.
    boxes : iterable of Box
        Each with `name`, `xmin`, `ymin`, `xmax`, `ymax` in pixels of `image`.
    title : str
        Above the photo.

    Returns
    -------
    Figure
        White cells in thick lines, red cells thin, platelets dashed.
    """
    height, width = image.shape[:2]
    fig, ax = new_figure(size=(WIDTH * 0.8, WIDTH * 0.8 * height / width + 0.5))
    ax.imshow(image)
    styles = {WHITE_CELL: ("-", 2.6), RED_CELL: ("-", 1.2), PLATELETS: ("--", 1.8)}
    seen: dict[str, int] = {}
    handles = {}
    for box in boxes:
        line, weight = styles.get(box.name, (":", 1.8))
        colour = BOX_COLOURS.get(box.name, "#000000")
        size = (box.xmax - box.xmin, box.ymax - box.ymin)
        patch = Rectangle((box.xmin, box.ymin), *size, fill=False, ec=colour, lw=weight, ls=line)
        handles[box.name] = ax.add_patch(patch)
        seen[box.name] = seen.get(box.name, 0) + 1
    ax.axis("off")
    if title:
        ax.set_title(title)
    if seen:
        labels = [f"{name} ({seen[name]})" for name in handles]
        ax.legend(
            handles.values(),
            labels,
            ncols=len(seen),
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            frameon=False,
        )
    return fig


def before_after(
    originals: Sequence[np.ndarray],
    changed: Sequence[Sequence[np.ndarray]],
    *,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Show each original with what augmentation made of it.

    Parameters
    ----------
    originals : sequence of array, shape (H, W, 3), uint8 or float 0…255
        One a row, in the first column.
    changed : sequence of sequence of array
        For each original its augmented versions, all rows of the same length.
    titles : sequence of str, optional
        Name of each row, above its original.

    Returns
    -------
    Figure
        One row an original.
    """
    images, names = [], []
    for i, (original, versions) in enumerate(zip(originals, changed, strict=True)):
        images += [as_uint8(image) for image in (original, *versions)]
        first = f"{titles[i]}, before" if titles else "before"
        several = len(versions) > 1
        names += [first] + [
            f"after ({j + 1})" if several else "after" for j in range(len(versions))
        ]
    columns = 1 + len(changed[0]) if len(changed) else 1
    return image_grid(images, names, columns=columns)


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Clip an image of 0…255 (any number type) to uint8, which is what the screen takes."""
    return np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)


def prediction_gallery(
    images: Sequence[np.ndarray],
    predicted: Sequence[str],
    confidence: Sequence[float],
    labels: Sequence[str] | None = None,
    *,
    status: Sequence[str] | None = None,
    columns: int = 4,
) -> Figure:
    """Show images under the verdict of the model, and whether it is right.

    Parameters
    ----------
    images : sequence of array, shape (H, W, 3), uint8
        The images judged.
    predicted : sequence of str
        Verdict of each image.
    confidence : sequence of float
        Probability of that verdict, 0…1.
    labels : sequence of str, optional
        True classes; right and wrong verdicts are then marked.
    status : sequence of str, optional
        As in the prediction table; anything but `ok` stands in the title.
    columns : int
        Images in a row.

    Returns
    -------
    Figure
        A tick or a cross and the truth in the title, so that colour is not the only sign.
    """
    titles, colours = [], []
    for i, (name, sure) in enumerate(zip(predicted, confidence, strict=True)):
        known = pd.notna(name) and name != ""
        title = f"{name} {100 * sure:.0f} %" if known and pd.notna(sure) else "no verdict"
        if status is not None and status[i] != "ok":
            title = f"{title}\n({str(status[i]).replace('_', ' ')})"
        colour = "black"
        if labels is not None:
            right = name == labels[i]
            colour = RIGHT if right else WRONG
            title = f"✓ {title}" if right else f"✗ {title}\ntrue: {labels[i]}"
        titles.append(title)
        colours.append(colour)
    return image_grid(images, titles, columns=columns, title_colours=colours)


def gradcam_panel(
    images: Sequence[np.ndarray],
    heat_maps: Sequence[np.ndarray],
    overlays: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    masks: Sequence[np.ndarray] | None = None,
) -> Figure:
    """Show image, heat map and overlay side by side, one row an image.

    Parameters
    ----------
    images, overlays : sequence of array, shape (H, W, 3), uint8
        The image and the image under its heat map.
    heat_maps : sequence of array, shape (h, w), float 0…1
        Normalised heat maps, of any size.
    titles : sequence of str
        One for each image.
    masks : sequence of array, shape (H, W), bool, optional
        True on the cell; its outline is drawn over the overlay.

    Returns
    -------
    Figure
        Three columns and one colour bar.
    """
    rows = len(images)
    high = WIDTH / 3 * images[0].shape[0] / images[0].shape[1]
    fig, axes = new_figure(rows, 3, size=(WIDTH, rows * (high * 0.86 + 0.3)), squeeze=False)
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)
    height, width = images[0].shape[:2]
    shown = None
    for i, row in enumerate(axes):
        row[0].imshow(images[i])
        extent = (0, width, height, 0)
        shown = row[1].imshow(heat_maps[i], cmap="inferno", vmin=0, vmax=1, extent=extent)
        row[2].imshow(overlays[i])
        if masks is not None and np.any(masks[i]):
            row[2].contour(np.asarray(masks[i], float), [0.5], colors="white", linewidths=1.4)
        row[0].set_title(titles[i], fontsize=9, loc="left")
        for ax in row:
            ax.axis("off")
    outlined = "overlay" if masks is None else "overlay, cell outlined"
    for ax, name in zip(axes[0][1:], ("heat map", outlined), strict=True):
        ax.set_title(name, fontsize=9)
    bar = fig.colorbar(shown, ax=axes, orientation="horizontal", shrink=0.4, aspect=30, pad=0.01)
    bar.set_label("evidence, share of the maximum", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    return fig
