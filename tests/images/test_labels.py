"""The classes and their morphology: complete, referenced, and true to what was measured."""

import csv
import io
import re
import zipfile

import cv2
import numpy as np
import pytest

from conftest import ROOT
from hv_utils.ground.errors import HematoVisionError
from hv_utils.images.labels import CLASSES, MORPHOLOGY, morphology_table, normalise_label

MASKS = ROOT.parent / "shared" / "data" / "wbc-masks-1.zip"


def test_classes_are_alphabetical_and_described():
    assert list(CLASSES) == sorted(CLASSES)
    assert set(CLASSES) <= set(MORPHOLOGY)
    for name in CLASSES:
        assert MORPHOLOGY[name].nc_range, f"{name} needs a range to be drawn from"


@pytest.mark.parametrize("cell", MORPHOLOGY.values(), ids=lambda cell: cell.name)
def test_facts_are_in_order(cell):
    for low, high in (cell.diameter_um, cell.percent, cell.count):
        assert 0 <= low < high
    if cell.nc_range:
        assert 0 < cell.nc_range[0] < cell.nc_median < cell.nc_range[1] < 1


def test_every_reference_is_in_the_bibliography():
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{(\w+),", bibliography, flags=re.MULTILINE))
    for cell in MORPHOLOGY.values():
        assert set(cell.references) <= known, cell.name


def test_table_shows_the_same_facts():
    table = morphology_table()
    assert list(table.index) == list(MORPHOLOGY)
    assert table.loc["neutrophil", "nucleus / cell area"] == "0.33 [0.28–0.40]"
    assert table.loc["basophil", "nucleus / cell area"] == "0.46", "one cell gives no range"
    for name, row in table.iterrows():
        assert row["references"].split(", ") == list(MORPHOLOGY[name].references)


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("EOSINOPHIL", "eosinophil"),
        (" Monocytes\n", "monocyte"),
        ("Basophil", "basophil"),
        ("Red   Cell", "red cell"),
        ("Echinocytes", "echinocytes"),
        ("Platelets", "platelet"),
        ("Immature  granulocyte", "ig"),
        ("nRBC", "erythroblast"),
    ],
)
def test_labels_are_brought_to_one_spelling(written, label):
    assert normalise_label(written) == label


@pytest.mark.parametrize("blank", ["", "  \t"])
def test_a_blank_label_is_refused_in_one_line(blank):
    with pytest.raises(HematoVisionError, match="expected the name of a class") as caught:
        normalise_label(blank)
    assert "\n" not in str(caught.value)


@pytest.mark.real
def test_ratios_are_those_measured_on_real_outlines():
    """The N:C figures are the 10th, 50th and 90th percentile over the real masks."""
    if not MASKS.exists():
        pytest.skip("the real outlines are not beside the repository (../shared/data)")
    numbered = {"1": "neutrophil", "2": "lymphocyte", "3": "monocyte", "4": "eosinophil"}
    ratios = {name: [] for name in CLASSES}
    with zipfile.ZipFile(MASKS) as archive:
        names = {name.rsplit("/", 1)[-1]: name for name in archive.namelist()}
        listing = next(name for name in names if name.startswith("Class Labels"))
        text = archive.read(names[listing]).decode("utf-8-sig")
        for row in csv.reader(io.StringIO(text)):
            if len(row) < 2 or row[1].strip() not in numbered:
                continue
            data = np.frombuffer(archive.read(names[f"{int(row[0]):03d}.png"]), np.uint8)
            mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
            ratios[numbered[row[1].strip()]].append((mask > 200).sum() / (mask > 60).sum())
    for name, measured in ratios.items():
        cell = MORPHOLOGY[name]
        low, middle, high = np.percentile(measured, [10, 50, 90])
        assert (low, middle, high) == pytest.approx(
            (cell.nc_range[0], cell.nc_median, cell.nc_range[1]), abs=0.015
        ), name
