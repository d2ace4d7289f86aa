"""`hv predict` from end to end: what the user names goes in, a table and overlays come out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from hv_utils.images.listing import find_images
from hv_utils.inference.predict import columns, open_classifier, predict_rows
from hv_utils.inference.preparation import STANDARD, VIEW, preparation_of
from hv_utils.inference.reports import Report, overlay_paths, progress, save_overlay
from hv_utils.inference.table_file import table_file, table_key


def label_images(
    paths: Iterable[str | Path],
    *,
    csv: str | Path | None = None,
    cam: str | Path | None = None,
    model: str | Path | None = None,
    um_per_pixel: float | None = None,
    why: bool = False,
    coverage: float | None = None,
    batch_size: int = 4,
    complain: Callable[[str], None] = print,
) -> Report:
    """Label all images that a user names, and write what was asked for.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders and patterns, see `listing.find_images`.
    csv : str or Path, optional
        The table to write, see `table_file.table_file`; what an earlier call with the same images,
        model and overlays has left of it is taken over.
    cam : str or Path, optional
        The folder of the Grad-CAM overlays to write.
    model : str or Path, optional
        See `predict.open_classifier`.
    um_per_pixel : float, optional
        See `preparation.preparation_of`.
    why, coverage
        See `predict.open_classifier`.
    batch_size : int
        Images of one call of the model.
    complain : callable
        Takes a line on each image that cannot be read, on cells that are cut off or not there, on
        files that were passed over, and on rows that were there.

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
    classify, meta = open_classifier(model, cam=bool(cam), why=why, coverage=coverage)
    prepare = preparation_of(meta, um_per_pixel=um_per_pixel)
    if listing.others:
        complain(listing.left_out())
    report = Report(meta["classes"], sets=coverage is not None)
    overlays = overlay_paths(files, cam) if cam else {}
    with ExitStack() as stack:
        table = None
        if csv:
            settings = {"workers": 0, "cam": cam and os.path.abspath(cam), "um": um_per_pixel}
            settings |= {"coverage": coverage}
            more = {"cells": meta.get(VIEW) == STANDARD, "sets": meta["sets"], "why": why}
            names = columns(meta["classes"], **more)
            table = stack.enter_context(
                table_file(csv, names, key=table_key(files, {**meta, **settings}))
            )
            for row in table.kept(files, batch_size=batch_size):
                report.add(row)
        done = report.images
        if done:
            complain(f"going on: {done:,} of {len(files):,} images of {csv} were there")
        rows = predict_rows(
            islice(files, done, None),
            classify,
            classes=meta["classes"],
            size=tuple(meta["size"]),
            prepare=prepare,
            batch_size=batch_size,
            workers=meta["workers"],
        )
        for row in stack.enter_context(progress(rows, total=len(files) - done)):
            report.add(row)
            if cam:
                save_overlay(row, overlays[row["path"]])
            if table:
                table.write(row)
            if row["reason"]:
                complain(row["reason"])
    return report
