"""The files of a class: which count, and what they say."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from drawn_run import make_drawn_run

from hv_utils.cli import hv
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES
from hv_utils.serve.held_out import from_run
from hv_utils.serve.versus import write_versus
from hv_utils.studies.readings import gather
from hv_utils.studies.readings_report import write_readings


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versus")
    return write_versus(folder / "versus.html", from_run(make_drawn_run(folder / "run")))


def answers(page, reader="r0", wrong=(), missed=(), until=None, **changed) -> dict:
    """Return a file's content: all right but for the cells named."""
    given = []
    for cell, truth in enumerate(page.truth[:until]):
        other = CLASSES[CLASSES.index(truth) - 1]
        answer = None if cell in missed else other if cell in wrong else truth
        given.append([cell, answer, 1000 + 100 * cell])
    told = {"format": "hematovision-versus-answers", "version": 1, "program": "HematoVision"}
    told |= {"page": page.facts["page"], "reader": reader, "attempt": 1, "seconds": 8}
    return told | {"described": False, "cells": len(page.truth), "answers": given} | changed


def write(folder, **files):
    for name, told in files.items():
        text = told if isinstance(told, str) else json.dumps(told)
        (folder / f"{name}.json").write_text(text)
    return [folder]


def test_difficulty_and_who_finds_a_cell_hard(page, tmp_path):
    by_model = [n for n, (a, b) in enumerate(zip(page.truth, page.verdicts, strict=True)) if a != b]
    fine = next(n for n in range(len(page.truth)) if n not in by_model)
    both, alone = by_model[:2]
    files = {
        f"r{n}": answers(page, f"r{n}", wrong=[both, fine], missed=[alone] if n == 0 else [])
        for n in range(4)
    }
    found = gather(page, write(tmp_path, **files))
    cells = found.cells.set_index("cell")
    assert cells.loc[both + 1, "difficulty"] == 0
    assert cells.loc[alone + 1, ["right", "difficulty"]].tolist() == [3, 0.75], "missed is wrong"
    hard = cells["hard_for"]
    assert (hard[both + 1], hard[fine + 1], hard[alone + 1]) == ("both", "persons", "model")
    assert cells.loc[fine + 1, "commonest"] == CLASSES[CLASSES.index(page.truth[fine]) - 1]
    assert found.agreement > 0.9
    assert "hard cells: 1 for persons alone, 3 for the model alone, 1 for both" in found.text()
    assert any("no discrimination: it needs 10 readers, and there are 4" in n for n in found.notes)


def test_a_reader_is_held_against_the_model(page, tmp_path):
    found = gather(page, write(tmp_path, r0=answers(page, wrong=[0, 1], missed=[2])))
    (row,) = found.readers.to_dict("records")
    names = [one[1] for one in answers(page, wrong=[0, 1], missed=[2])["answers"]]
    apart = [
        (name, truth, model)
        for name, truth, model in zip(names, page.truth, page.verdicts, strict=True)
        if name and name != model
    ]
    assert row["differ"] == len(apart)
    assert row["reader_right"] == sum(name == truth for name, truth, _ in apart)
    assert row["model_right"] == sum(model == truth for _, truth, model in apart)
    assert row["right"] == len(page.truth) - 3
    assert np.isnan(found.agreement)


def test_a_class_of_ten_has_discriminations(page, tmp_path):
    files = {f"r{n}": answers(page, f"r{n}", wrong=range(n)) for n in range(10)}
    cells = gather(page, write(tmp_path, **files)).cells
    assert cells["discrimination"][2:8].min() > 0.3


def test_a_turn_that_was_stopped_counts_as_far_as_it_went(page, tmp_path):
    cells = gather(page, write(tmp_path, r0=answers(page, until=3))).cells
    assert list(cells["readers"][:4]) == [1, 1, 1, 0]
    assert np.isnan(cells["difficulty"][3])
    assert not (cells["hard_for"][3:].isin(["persons", "both"])).any()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda told: json.dumps(told)[:-30], "breaks off or is no such file"),
        (lambda told: {**told, "version": 2}, "bad.json has form 2"),
        (lambda told: {**told, "page": "abc"}, "bad.json answers abc, another page"),
        (lambda told: {"format": "hematovision-review"}, "bad.json, but it is another file"),
        (lambda told: "[1]", "it is another file"),
        (lambda told: {**told, "answers": [[99, "monocyte", 1]]}, "changed by hand"),
        (lambda told: {**told, "answers": [[0, "unicorn", 1]]}, "changed by hand"),
        (lambda told: {**told, "answers": told["answers"] * 2}, "changed by hand"),
        (lambda told: {**told, "answers": []}, "changed by hand"),
        (lambda told: {**told, "seconds": "8"}, "changed by hand"),
        (lambda told: {k: told[k] for k in told if k != "reader"}, "changed by hand"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_and_the_others_count(page, tmp_path, spoil, said):
    bad = spoil(answers(page, "bad"))
    found = gather(page, write(tmp_path, bad=bad, good=answers(page)))
    (line,) = found.refused
    assert said in line
    assert "\n" not in line
    assert list(found.readers["reader"]) == ["r0"]
    with pytest.raises(HematoVisionError, match=re.escape(said)):
        gather(page, [tmp_path / "bad.json"])


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_files_of_a_reader_the_first_attempt_counts(page, tmp_path, order):
    late, first = answers(page, attempt=2), answers(page, wrong=[0])
    for name, told in zip(order, (late, first), strict=True):
        write(tmp_path, **{name: told})
    found = gather(page, [tmp_path])
    assert found.readers["right"].tolist() == [len(page.truth) - 1]
    (line,) = found.refused
    assert f"{order[1]}.json counts" in line


def test_conditions_are_told(page, tmp_path):
    files = {
        "a": answers(page, "a", seconds=None),
        "b": answers(page, "b", attempt=2),
        "c": answers(page, "c", described=True),
    }
    found = gather(page, write(tmp_path, **files))
    assert list(found.readers["reader"]) == ["a", "b"]
    told = "\n".join(found.notes)
    assert "c.json is left aside: its reader heard the cells described" in told
    assert "without a time limit: 1 of 2" in told
    assert "not their first time: 1 of 2" in told


def test_the_command_writes_a_table_and_a_report(page, tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()
    write(folder, a=answers(page, "a", wrong=[0]), b=answers(page, "b", wrong=[0]), bad="{")
    out = tmp_path / "class.csv"
    words = ["versus", str(page.path), "--gather", str(folder), "--out", str(out)]
    done = CliRunner().invoke(hv, words)
    assert done.exit_code == 1, "a file was refused"
    assert "2 readers, 14 cells" in done.output
    assert "bad.json" in done.output
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table["cell"]) == list(range(1, 15))
    assert {"truth", "model", "difficulty", "discrimination", "hard_for"} <= set(table)
    report = out.with_suffix(".html").read_text("utf-8")
    assert not re.findall(r"https?://|<script", report)
    assert page.pictures[0] in report
    assert not re.findall(r'<img[^>]*alt=""', report)
    (folder / "bad.json").unlink()
    assert CliRunner().invoke(hv, words).exit_code == 0


def test_where_the_report_must_not_go(page, tmp_path):
    found = gather(page, write(tmp_path, a=answers(page)))
    with pytest.raises(HematoVisionError, match=r"ending in \.csv"):
        write_readings(found, tmp_path / "class.txt")
    with pytest.raises(HematoVisionError, match="written over"):
        write_readings(found, page.path.with_suffix(".csv"))
    with pytest.raises(HematoVisionError, match="nothing is at"):
        gather(page, [tmp_path / "nowhere"])
