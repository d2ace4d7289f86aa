"""The audit lists what it should, keeps its columns, and changes no label."""

import numpy as np
import pandas as pd
import pytest

from hv_utils.studies import audit, disagreements
from hv_utils.studies.duplicates import exact_duplicates


@pytest.fixture
def photos(tmp_path):
    rows = [
        ("00000", "NEUTROPHIL", "neutrophil", "", 1),
        ("00001", "", pd.NA, "blank", 1),
        ("00002", "NEUTROPHIL, MONOCYTE", pd.NA, "several cells", 2),
        ("00003", "MONOCYTE", "monocyte", "", 2),
        ("00004", "MONOCYTE", "monocyte", "", 1),
    ]
    table = pd.DataFrame(rows, columns=["photo", "category", "label", "doubt", "white_cells"])
    table["path"] = [str(tmp_path / f"{name}.jpg") for name in table["photo"]]
    (tmp_path / "00000.jpg").touch()
    table["doubt"] = table["doubt"].replace("", np.nan)  # as it comes back from a CSV
    return table


@pytest.fixture
def images():
    rows = [
        ("a.jpeg", "neutrophil", "train", "00000", 1.0, "s0"),
        ("b.jpeg", "neutrophil", "train", "00000", 0.5, "s1"),
        ("c.jpeg", "monocyte", "train", "00003", 0.95, "s2"),
        ("d.jpeg", "neutrophil", "test", "00004", 0.8, "s3"),
        ("e.jpeg", "monocyte", "test", pd.NA, np.nan, "s0"),
    ]
    columns = ["path", "label", "split", "cell", "visible", "sha256"]
    return pd.DataFrame(rows, columns=columns).astype({"cell": "string"})


def oof(probs, label="a"):
    """Return probabilities of one cell: probs[repeat][copy] of class a, the rest of class b."""
    rows = [
        (f"{copy}.png", label, "1", repeat, p, 1 - p)
        for repeat, copies in enumerate(probs)
        for copy, p in enumerate(copies)
    ]
    return pd.DataFrame(rows, columns=["path", "label", "cell", "repeat", "prob_a", "prob_b"])


class TestTables:
    @pytest.mark.parametrize(
        ("least", "rows"),
        [
            (0.9, {"less than half": 1, "up to 0.9": 1, "more": 1, "all of it": 1}),
            (0.4, {"more": 3, "all of it": 1}),
            (1.0, {"less than half": 1, "up to 1": 3}),
        ],
    )
    def test_verdicts_by_what_is_visible(self, images, least, rows):
        table = oof([[1.0, 0.0, 1.0, 0.0]] * 2).assign(label=["a"] * 4 + ["b"] * 4)
        table["path"] = list("abcd") * 2
        images = images.assign(path=list("abcde"))
        found = audit.right_by_visibility(table, images, least=least)
        assert found["images"].to_dict() == rows
        assert (found["right"] == 0.5).all(), "right in one of two repeats"
        assert audit.right_by_visibility(table.head(0), images).empty
        assert audit.right_by_visibility(table, images.drop(columns="visible")).empty

    def test_doubtful_rows(self, photos):
        assert audit.doubtful_rows(photos)["photo"].tolist() == ["00001", "00002"]

    def test_box_conflicts_are_rows_without_a_doubt_of_their_own(self, photos):
        assert audit.box_conflicts(photos)["photo"].tolist() == ["00003"]
        assert audit.box_conflicts(photos.assign(white_cells=0)).empty

    def test_folder_against_table(self, photos, images):
        found = audit.label_conflicts(images, photos)
        assert found[["cell", "label", "category"]].to_numpy().tolist() == [
            ["00004", "neutrophil", "MONOCYTE"]
        ]

    def test_partly_outside(self, images):
        assert audit.partly_outside(images)["path"].tolist() == ["b.jpeg", "d.jpeg"]
        assert audit.partly_outside(images, least=0.6)["path"].tolist() == ["b.jpeg"]
        assert audit.partly_outside(images.drop(columns="visible")).empty

    def test_shows_the_photo_or_the_copy_that_shows_most(self, photos, images):
        paths = audit.show_cells(photos, images)
        assert paths["00000"].endswith("00000.jpg")
        assert paths["00003"] == "c.jpeg"


class TestFindings:
    def test_each_reason_has_its_rows(self, photos, images):
        judged = disagreements.judge_cells(oof([[0.2], [0.3]]).assign(cell="00003"))
        before = images.copy()
        found = audit.findings(
            photos=photos,
            images=images,
            judged=judged,
            same_files=exact_duplicates(images),
            same_field=pd.DataFrame(columns=["photos", "paths", "labels", "splits"]),
            cut_off=audit.partly_outside(images),
        )
        assert list(found.columns) == audit.FINDING_COLUMNS
        assert found["reason"].value_counts().to_dict() == {
            "doubtful row": 2,
            "boxes and label": 1,
            "folder and table": 1,
            "disagrees with its label": 1,
            "identical files": 1,
            "partly outside the frame": 2,
        }
        wrong = found[found["reason"] == "disagrees with its label"].iloc[0]
        assert (wrong["cell"], wrong["label"], wrong["suggested"]) == ("00003", "a", "b")
        assert wrong["path"] == "c.jpeg"
        cut = found[found["reason"] == "partly outside the frame"].set_index("cell")
        assert cut.loc["00000", "detail"] == "1 of 2 copies"
        pd.testing.assert_frame_equal(images, before)

    def test_nothing_to_find_is_an_empty_table(self, photos, images):
        none = images.head(0)
        found = audit.findings(
            photos=photos.head(0),
            images=none,
            judged=pd.DataFrame(),
            same_files=exact_duplicates(none),
            same_field=pd.DataFrame(columns=["photos", "paths", "labels", "splits"]),
            cut_off=none,
        )
        assert list(found.columns) == audit.FINDING_COLUMNS
        assert found.empty
