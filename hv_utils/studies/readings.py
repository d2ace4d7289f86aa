"""The readings of a class: the files that the page of `hv versus` has saved, and what they say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import matches
from hv_utils.scores.differential import exact_limits
from hv_utils.scores.items import LEAST_READERS, item_table, kappa, mean_kappa
from hv_utils.serve.versus import FORMAT, VERSION, Versus

ANSWERS = f"{FORMAT}-answers"
HARD_FOR = {"persons": "persons alone", "model": "the model alone", "both": "both"}
HARD = 0.5  # a cell that fewer name rightly is hard for persons


@dataclass(frozen=True)
class Reading:
    """What one reader has answered.

    Attributes
    ----------
    path : Path
    reader : str
        Random code.
    attempt : int
        1 the first time.
    seconds : float or None
        For each cell; None without a limit.
    described : bool
        Whether the reader heard the cells described, and did not judge pictures.
    names : list of str or None
        Of each cell of the page; None where it was not named.
    asked : list of bool
        Which cells the reader came to.
    times : list of float
        Seconds of each cell; NaN where there is none.
    """

    path: Path
    reader: str
    attempt: int
    seconds: float | None
    described: bool
    names: list[str | None]
    asked: list[bool]
    times: list[float]


@dataclass(frozen=True)
class Readings:
    """A class, gathered.

    Attributes
    ----------
    page : Versus
    cells : pandas.DataFrame
        See `cell_table`.
    readers : pandas.DataFrame
        See `reader_table`.
    agreement : float
        Mean of Cohen's kappa over all pairs of readers; NaN with fewer than two.
    refused, notes : list of str
        A line on each file that does not count, and on what a teacher should know.
    """

    page: Versus
    cells: pd.DataFrame
    readers: pd.DataFrame
    agreement: float
    refused: list[str]
    notes: list[str]

    def text(self) -> str:
        """Return the report as printed."""
        shares = 100 * self.readers["right"] / self.readers["cells"]
        right = (self.cells["model"] == self.cells["truth"]).mean()
        lines = [
            f"{len(self.readers)} readers, {len(self.cells)} cells",
            f"right: readers {shares.mean():.1f} % in the mean ({shares.min():.1f} to "
            f"{shares.max():.1f}), the model {100 * right:.1f} %",
        ]
        if not math.isnan(self.agreement):
            lines.append(f"agreement of two readers, mean kappa: {self.agreement:.2f}")
        hard = self.cells["hard_for"].value_counts()
        told = ", ".join(f"{hard.get(name, 0)} for {who}" for name, who in HARD_FOR.items())
        return "\n".join([*lines, f"hard cells: {told}"])


def gather(page: Versus, given: Iterable[str | Path]) -> Readings:
    """Gather the files of a class.

    Parameters
    ----------
    page : Versus
        The page that was handed out.
    given : iterable of str or Path
        Files, folders (their `.json`) and patterns.

    Returns
    -------
    Readings

    Raises
    ------
    HematoVisionError
        Where no file counts.
    """
    files = [file for one in given for file in _files(one)]
    readings: dict[str, Reading] = {}
    refused, notes = [], []
    for path in files:
        try:
            one = read_answers(path, page)
        except HematoVisionError as error:
            refused.append(str(error))
            continue
        if one.described:
            notes.append(f"{path.name} is left aside: its reader heard the cells described")
            continue
        other = readings.get(one.reader)
        first, second = (other, one) if other and _rank(other) <= _rank(one) else (one, other)
        readings[one.reader] = first
        if second:
            refused.append(
                f"expected one file a reader, but {first.path.name} and {second.path.name} are of "
                f"the same, {one.reader}: {first.path.name} counts, the earlier or longer one"
            )
    if not readings:
        raise HematoVisionError(
            f"expected the answers of at least one reader to {page.path}, but none of "
            f"{len(files)} files counts"
            + (f"; the first: {(refused + notes)[0]}" if refused or notes else ": name them")
        )
    kept = sorted(readings.values(), key=lambda one: one.reader)
    if free := sum(one.seconds is None for one in kept):
        notes.append(f"without a time limit: {free} of {len(kept)} readers")
    if late := sum(one.attempt > 1 for one in kept):
        notes.append(f"not their first time: {late} of {len(kept)} readers, who know the cells")
    if len(kept) < LEAST_READERS:
        notes.append(
            f"no discrimination: it needs {LEAST_READERS} readers, and there are {len(kept)}"
        )
    agreement = mean_kappa(np.array([one.names for one in kept], object))
    return Readings(
        page, cell_table(page, kept), reader_table(page, kept), agreement, refused, notes
    )


def _files(given: str | Path) -> list[Path]:
    found = matches(given)
    if not found:
        raise HematoVisionError(
            f"expected files of answers, but nothing is at {given}: check the path"
        )
    return [
        file for one in found for file in (sorted(one.glob("*.json")) if one.is_dir() else [one])
    ]


def _rank(one: Reading) -> tuple[int, int]:
    return one.attempt, -sum(one.asked)


def read_answers(path: Path, page: Versus) -> Reading:
    """Read what the page has saved.

    Parameters
    ----------
    path : Path
    page : Versus

    Returns
    -------
    Reading

    Raises
    ------
    HematoVisionError
        Where it is no such file, is cut, changed, of a newer version or to another page.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HematoVisionError(
            f"expected answers in {path.name}, but it cannot be read ({error.strerror}): "
            "mend its permissions"
        ) from error
    except ValueError as error:
        raise HematoVisionError(
            f"expected answers in {path.name}, but it breaks off or is no such file (half "
            "written?): let its reader save it again"
        ) from error
    if not isinstance(told, dict) or told.get("format") != ANSWERS:
        raise HematoVisionError(
            f"expected answers in {path.name}, but it is another file: leave it out"
        )
    if not isinstance(told.get("version"), int) or told["version"] > VERSION:
        raise HematoVisionError(
            f"expected answers of form {VERSION}, but {path.name} has form {told.get('version')} "
            f"(saved by {told.get('program')}): gather it with that version"
        )
    if told.get("page") != page.facts["page"]:
        raise HematoVisionError(
            f"expected answers to page {page.facts['page']}, but {path.name} answers "
            f"{told.get('page')}, another page: gather it with that one"
        )
    try:
        return _reading(path, told, page)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise HematoVisionError(
            f"expected answers as the page saves them, but those of {path.name} are not whole "
            "(changed by hand?): let its reader save it again"
        ) from error


def _reading(path: Path, told: dict[str, Any], page: Versus) -> Reading:
    n, classes = page.facts["count"], page.facts["classes"]
    names: list[str | None] = [None] * n
    asked, times = [False] * n, [math.nan] * n
    for cell, name, ms in told["answers"]:
        if asked[cell] or cell < 0 or not (name is None or name in classes) or not ms >= 0:
            raise ValueError(cell)
        names[cell], asked[cell], times[cell] = name, True, ms / 1000
    reader, attempt, seconds = str(told["reader"]), int(told["attempt"]), told["seconds"]
    if not any(asked) or not reader or (seconds is not None and not seconds > 0):
        raise ValueError(path)
    return Reading(path, reader, attempt, seconds, bool(told["described"]), names, asked, times)


def cell_table(page: Versus, readings: list[Reading]) -> pd.DataFrame:
    """Return what a class says of each cell.

    Parameters
    ----------
    page : Versus
    readings : list of Reading

    Returns
    -------
    pandas.DataFrame
        A row a cell: `cell` (from 1), `truth`, `model`, the columns of `items.item_table`,
        `commonest` (the name given most often; "" where nobody gave one), `seconds` (median of
        those who named it), `hard_for` (persons, model, both or "").
    """
    truth = page.truth
    right = np.array(
        [
            [
                float(name == is_) if was else np.nan
                for name, was, is_ in zip(r.names, r.asked, truth, strict=True)
            ]
            for r in readings
        ]
    )
    table = item_table(right)
    named = [[r.names[cell] for r in readings if r.names[cell]] for cell in range(len(truth))]
    times = [[r.times[cell] for r in readings if r.names[cell]] for cell in range(len(truth))]
    table.insert(0, "cell", np.arange(1, len(truth) + 1))
    table.insert(1, "truth", truth)
    table.insert(2, "model", page.verdicts)
    table["commonest"] = [max(sorted({*one}), key=one.count) if one else "" for one in named]
    table["seconds"] = [float(np.median(one)) if one else np.nan for one in times]
    persons, model = table["difficulty"] < HARD, table["model"] != table["truth"]
    table["hard_for"] = np.select(
        [persons & model, persons, model], ["both", "persons", "model"], ""
    )
    return table


def reader_table(page: Versus, readings: list[Reading]) -> pd.DataFrame:
    """Return what each reader has done.

    Parameters
    ----------
    page : Versus
    readings : list of Reading

    Returns
    -------
    pandas.DataFrame
        A row a reader: `reader`, `cells` (asked), `right`, `share`, its exact limits `low` and
        `high`, `kappa` (agreement with the model), `differ` (cells named otherwise than the model
        did), `reader_right` and `model_right` (of these), `seconds` (median of those named).
    """
    truth, verdicts = np.array(page.truth, object), np.array(page.verdicts, object)
    rows = []
    for one in readings:
        names = np.array(one.names, object)
        apart = np.array([name is not None for name in names]) & (names != verdicts)
        right, asked = int((names == truth).sum()), sum(one.asked)
        low, high = exact_limits(right, asked)
        times = [time for time, name in zip(one.times, one.names, strict=True) if name]
        rows.append(
            {
                "reader": one.reader,
                "cells": asked,
                "right": right,
                "share": right / asked,
                "low": low,
                "high": high,
                "kappa": kappa(names, verdicts),
                "differ": int(apart.sum()),
                "reader_right": int((apart & (names == truth)).sum()),
                "model_right": int((apart & (verdicts == truth)).sum()),
                "seconds": float(np.median(times)) if times else math.nan,
            }
        )
    return pd.DataFrame(rows)
