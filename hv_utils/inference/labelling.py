"""`hv predict` from end to end: what the user names goes in, a table and overlays come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from hv_utils.images.listing import find_images
from hv_utils.inference.onnx_model import UNREADABLE
from hv_utils.inference.predict import open_classifier, predict_rows
from hv_utils.inference.reports import Report, csv_writer, overlay_paths, progress, save_overlay


def label_images(
    paths: Iterable[str | Path],
    *,
    csv: str | Path | None = None,
    cam: str | Path | None = None,
    model: str | Path | None = None,
    batch_size: int = 4,
    complain: Callable[[str], None] = print,
) -> Report:
    """Label all images that a user names, and write what was asked for.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders and patterns, see `listing.find_images`.
    csv : str or Path, optional
        The table to write.
    cam : str or Path, optional
        The folder of the Grad-CAM overlays to write.
    model : str or Path, optional
        See `predict.open_classifier`.
    batch_size : int
        Images of one call of the model.
    complain : callable
        Takes a line on each image that cannot be read, and on the files that were passed over.

    Returns
    -------
    Report

    Raises
    ------
    HematoVisionError
        Where nothing is to be labelled, there is no model, or a file cannot be written.
    """
    listing = find_images(paths, besides=cam)
    files = listing.files
    overlays = overlay_paths(files, cam) if cam else {}
    classify, meta = open_classifier(model, cam=bool(cam))
    if listing.others:
        complain(listing.left_out())
    rows = predict_rows(
        files,
        classify,
        classes=meta["classes"],
        size=tuple(meta["size"]),
        batch_size=batch_size,
        workers=meta["workers"],
    )
    report = Report(meta["classes"], total=len(files))
    with ExitStack() as stack:
        write = csv and stack.enter_context(csv_writer(csv, meta["classes"]))
        for row in stack.enter_context(progress(rows, total=len(files))):
            report.add(row)
            if write:
                write(row)
            if cam:
                save_overlay(row, overlays[row["path"]])
            if row["status"] == UNREADABLE:
                complain(row["reason"])
    return report
