"""`hv count` from end to end: fields go in, a row a cell and a differential come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from hv_utils.fields.scale import check_scale
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores, dump_json, write_text
from hv_utils.ground.threads import in_order
from hv_utils.images.listing import find_images
from hv_utils.images.red_shapes import RED_KINDS
from hv_utils.inference.count_report import APART, Count, draw_field
from hv_utils.inference.detector import RED, WHITE, Detector
from hv_utils.inference.field import BOX, read_field
from hv_utils.inference.onnx_model import NOT_A_CELL, OK, UNREADABLE, OnnxClassifier
from hv_utils.inference.predict import Classifier, judge_shown, open_classifier
from hv_utils.inference.preparation import (
    HUE,
    LARGEST,
    STANDARD,
    VIEW,
    Picture,
    Preparation,
    Shown,
)
from hv_utils.inference.reports import overlay_paths, progress
from hv_utils.inference.table_file import table_file, table_key

COLUMNS = ["path", "kind", "predicted", "confidence", "status", *BOX]


@dataclass(frozen=True)
class CountedField:
    """A field that was counted, or the reason why it was not.

    Attributes
    ----------
    path : str
    rows : list of dict
        See `COLUMNS`; those of white cells with their probabilities, too.
    doubts : list of str
    status : str
        `ok` or `unreadable`.
    """

    path: str
    rows: list[dict]
    doubts: list[str]
    status: str = OK


def count_fields(
    paths: Iterable[str | Path],
    *,
    csv: str | Path | None = None,
    json: str | Path | None = None,
    overlays: str | Path | None = None,
    model: str | Path | None = None,
    um_per_pixel: float | None = None,
    shapes: str | Path | None = None,
    doubtful: str = APART,
    rebalance: bool = False,
    complain: Callable[[str], None] = print,
) -> Count:
    """Count the cells of all fields that a user names, and write what was asked for.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders and patterns, see `listing.find_images`.
    csv : str or Path, optional
        The table to write, a row a cell; what an earlier call has left of it is taken over.
    json : str or Path, optional
        The counts with their limits.
    overlays : str or Path, optional
        The folder of the fields with their cells outlined.
    model : str or Path, optional
        Of cells, see `predict.open_classifier`.
    um_per_pixel : float, optional
        Scale of all fields; by default each is measured.
    shapes : str or Path, optional
        A model that names red cells by shape, see `open_shapes`.
    doubtful : str
        What becomes of unsure cells, one of `count_report.DOUBTFUL`.
    rebalance : bool
        Whether shares are corrected for the class balance of the model's training, too.
    complain : callable
        Takes a line on each field that cannot be counted or is doubtful, and on each finding.

    Returns
    -------
    Count

    Raises
    ------
    HematoVisionError
        Where nothing is to be counted, the model is none of cells, or a file cannot be written.
    """
    check_scale(um_per_pixel)
    listing = find_images(paths, besides=overlays)
    files = listing.files
    classify, meta = open_classifier(model)
    by_shape = open_shapes(shapes) if shapes else None
    options = {**field_options(meta), "um_per_pixel": um_per_pixel, "shapes": by_shape}
    count = Count(meta, doubtful=doubtful, rebalance=rebalance)
    if listing.others:
        complain(listing.left_out())
    look = partial(count_field, detector=Detector.load(), classify=classify, meta=meta, **options)
    drawn = overlay_paths(files, overlays, mark="counted") if overlays else {}
    with ExitStack() as stack:
        table, done = None, 0
        if csv:
            key = table_key(
                files, {**meta, "um": um_per_pixel, "drawn": str(overlays), "shapes": str(shapes)}
            )
            table = stack.enter_context(table_file(csv, COLUMNS, key=f"count-{key}"))
            # Whole cells are shared out by probabilities, which the table does not hold.
            reusable = [] if count.needs_probabilities else files
            for field in _by_field(table.kept(reusable, batch_size=1)):
                count.add(field)
                done += 1
        if done:
            complain(f"going on: {done:,} of {len(files):,} fields of {csv} were there")
        fields = in_order(look, islice(files, done, None), workers=cores())
        shown = progress(fields, total=len(files) - done, images=lambda _: 1)
        for field in stack.enter_context(shown):
            count.add(field)
            if overlays:
                draw_field(field, drawn[field.path])
            for row in field.rows if table else ():
                table.write(row)
            for line in (*field.doubts, *count.findings_in(field)):
                complain(line)
    if json:
        write_text(Path(json), dump_json(count.facts()))
    return count


def _by_field(rows: Iterator[dict]) -> Iterator[CountedField]:
    """Gather the rows of a table that was there by their fields."""
    gathered: list[dict] = []
    for row in rows:
        if gathered and row["path"] != gathered[0]["path"]:
            yield CountedField(gathered[0]["path"], gathered, [])
            gathered = []
        gathered.append(row)
    if gathered:
        yield CountedField(gathered[0]["path"], gathered, [])


def count_field(
    path: Path,
    *,
    detector: Detector,
    classify: Classifier,
    meta: Mapping[str, Any],
    shapes: OnnxClassifier | None = None,
    **options: Any,
) -> CountedField:
    """Find and name the cells of one field.

    Parameters
    ----------
    path : Path
    detector : Detector
    classify, meta
        From `predict.open_classifier`.
    shapes : OnnxClassifier, optional
        See `cell_rows`.
    **options
        Of `field.read_field`.
    """
    size = shapes.size if shapes else None
    try:
        field = read_field(path, detector, shape_size=size, **options)
    except HematoVisionError as error:
        return CountedField(str(path), [], [str(error)], UNREADABLE)
    cells = [(path, cell) for cell in field.cells]
    rows = cell_rows(cells, classify, classes=meta["classes"], shapes=shapes)
    doubts = list(field.doubts)
    if not rows and not doubts:
        doubts.append(f"expected cells, but {path} shows none: take a field with cells in it")
    return CountedField(str(path), rows, doubts)


def cell_rows(
    cells: Sequence[tuple[Picture, Shown]],
    classify: Classifier,
    *,
    classes: Sequence[str],
    batch_size: int = 32,
    shapes: OnnxClassifier | None = None,
) -> list[dict]:
    """Name cells from `field.read_field`: white ones by kind, red ones by shape; a row each.

    Cells without a name have the detector's confidence. See `COLUMNS`.

    Parameters
    ----------
    cells : sequence of (Path or SentImage, Shown)
    classify, classes, batch_size
        See `predict.predict_rows`.
    shapes : OnnxClassifier, optional
        Names red cells, see `open_shapes`.
    """
    is_red = [(cell.place or {}).get("kind") == RED for _, cell in cells]
    groups = [
        ([cell for cell, red in zip(cells, is_red, strict=True) if not red], classify, classes)
    ]
    red_cells = [cell for cell, red in zip(cells, is_red, strict=True) if red]
    groups.append((red_cells, shapes or classify, shapes.classes if shapes else classes))
    others, reds = (
        iter(judge_shown(part, by, classes=names, batch_size=batch_size))
        for part, by, names in groups
    )
    rows = [next(reds if red else others) for red in is_red]
    for row in rows:
        if row["kind"] != WHITE and not row["predicted"]:
            row["confidence"] = row.get("found", math.nan)  # of no cell there is none
    return rows


def open_shapes(path: str | Path) -> OnnxClassifier:
    """Open a model of red cells' shapes, as `hv run --profile redcells` makes one.

    Raises
    ------
    HematoVisionError
        Where it is another model.
    """
    model = OnnxClassifier.load(path)
    if others := set(model.classes) - set(RED_KINDS):
        raise HematoVisionError(
            f"expected a model of red cells' shapes, but {path} knows {sorted(others)[0]}: make "
            "one with `hv run --profile redcells --archive PATH`"
        )
    return model


def count_preparation(facts: Mapping[str, Any], *, um_per_pixel: float | None) -> Preparation:
    """Return what turns a field into its cells, for `cell_rows`; it raises nothing.

    A field that cannot be read is one row that says so, and so is one without cells.
    """
    detector = Detector.load()
    options = {**field_options(facts), "um_per_pixel": um_per_pixel}
    nowhere = {"kind": "", **dict.fromkeys(BOX, math.nan)}

    def prepare(path: Picture) -> list[Shown]:
        try:
            field = read_field(path, detector, **options)
        except HematoVisionError as error:
            return [Shown(None, UNREADABLE, str(error), nowhere)]
        reason = "; ".join(field.doubts)
        if not field.cells:
            return [Shown(None, NOT_A_CELL, reason or f"{path} shows no cell", nowhere)]
        return [replace(field.cells[0], reason=reason), *field.cells[1:]]

    return prepare


def field_options(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `field.read_field` needs to know of a model.

    Raises
    ------
    HematoVisionError
        For a model of whole pictures.
    """
    if facts.get(VIEW) != STANDARD:
        raise HematoVisionError(
            "expected a model of cells, but this one takes whole pictures: leave --model out, or "
            "name one from `make model-abroad` or `hv adapt`"
        )
    return {
        "side": facts["size"][0],
        "hue": facts.get(HUE),
        "largest_um2": facts.get(LARGEST, {}),
    }
