"""What a model is shown: each white cell of a picture, or one line on why there is none."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_onnx_model import write_model

from conftest import ROOT
from hv_utils.drawn.smear import draw_photo
from hv_utils.fields.view import VIEW_SIDE, VIEW_UM
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.predict import columns, predict_rows
from hv_utils.inference.preparation import preparation_of
from hv_utils.inference.table_file import table_file

CLASSES = ("dark", "light")
CELLS = {"classes": CLASSES, "size": (VIEW_SIDE, VIEW_SIDE), "view": "standard"}
CELLS["um_per_pixel"] = VIEW_UM


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write pictures with one, two, half a and no white cell."""
    place = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(2)
    photos = [draw_photo(label, rng=rng) for label in ("monocyte", "neutrophil")]
    first, second = (photo.image for photo in photos)
    xs = np.nonzero(photos[0].nucleus_mask)[1]
    only_red = np.where(photos[0].cell_mask[..., None], first.max(axis=(0, 1)), first)
    pictures = {
        "cut": first[:, int(xs.mean()) :],
        "none": np.full_like(first, 235),
        "one": first,
        "red": only_red.astype(np.uint8),
        "two": np.hstack([first, second]),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(place / f"{name}.png")
    return place


def shown(path, **options):
    return preparation_of(CELLS, **options)(path)


def test_each_white_cell_is_shown_by_itself(folder):
    (one,) = shown(folder / "one.png")
    assert one.image.shape == (VIEW_SIDE, VIEW_SIDE, 3)
    assert (one.status, one.reason, one.place["cell"]) == ("", "", 1)
    two = shown(folder / "two.png")
    assert [each.place["cell"] for each in two] == [1, 2]
    assert sorted(each.place["x"] > 640 for each in two) == [False, True]


def test_a_cell_too_large_for_a_class_is_not_called_one(folder):
    def classify(images, barred=None):
        asked.append(barred)
        light = np.tile([0.1, 0.9], (len(images), 1))
        return light if barred is None else np.where(barred, 0, light) + barred[:, ::-1] * 0.9

    for most, predicted in ((500, "light"), (5, "dark")):
        asked = []
        prepare = preparation_of(CELLS | {"largest_um2": {"light": most, "platelet": 3}})
        options = {"classes": CLASSES, "size": CELLS["size"], "prepare": prepare}
        (row,) = predict_rows([folder / "one.png"], classify, **options)
        assert row["predicted"] == predicted
        assert (asked[0] is None) == (predicted == "light"), "a class of another model bars none"


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("cut", "unsure", "the edge cuts off cell 1"),
        ("none", "not_a_cell", "nothing stained"),
        ("red", "not_a_cell", "only red cells"),
    ],
)
def test_what_is_no_whole_cell_is_one_line(folder, name, status, said):
    (one,) = shown(folder / f"{name}.png")
    assert one.status == status
    assert said in one.reason
    assert one.reason.startswith("expected")
    assert "\n" not in one.reason
    assert (one.image is None) == (status == "not_a_cell"), "no verdict is made up"


def test_a_file_that_is_no_picture_is_unreadable(tmp_path):
    (tmp_path / "text.png").write_text("a text")
    (one,) = shown(tmp_path / "text.png")
    assert (one.image, one.status) == (None, "unreadable")


@pytest.mark.parametrize("scale", [0, -1, 500, float("nan")])
def test_a_scale_that_cannot_be_is_refused(scale):
    with pytest.raises(HematoVisionError, match="µm a pixel"):
        preparation_of(CELLS, um_per_pixel=scale)


def test_what_would_have_no_effect_or_is_unknown_is_refused():
    whole = {"classes": CLASSES, "size": (8, 8)}
    with pytest.raises(HematoVisionError, match="no --um-per-pixel"):
        preparation_of(whole, um_per_pixel=0.1)
    with pytest.raises(HematoVisionError, match="later version"):
        preparation_of({**whole, "view": "polar"})
    with pytest.raises(HematoVisionError, match="µm a pixel"):
        preparation_of({**CELLS, "um_per_pixel": 0.5})


def test_the_rows_of_a_picture_stand_together_whatever_the_batch(folder):
    def classify(images):
        light = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - light, light], axis=1)

    paths = sorted(folder.iterdir())
    options = {"classes": CLASSES, "size": CELLS["size"], "prepare": preparation_of(CELLS)}
    rows = [list(predict_rows(paths, classify, batch_size=n, **options)) for n in (1, 2, 64)]
    assert [row["path"].split("/")[-1] for row in rows[0]] == [
        "cut.png", "none.png", "one.png", "red.png", "two.png", "two.png",
    ]  # fmt: skip
    assert [row["status"] for row in rows[0]] == [
        "unsure", "not_a_cell", "ok", "not_a_cell", "ok", "ok",
    ]  # fmt: skip
    for other in rows[1:]:
        for first, second in zip(rows[0], other, strict=True):
            for name in columns(CLASSES, cells=True):
                same = first[name] == second[name] or first[name] != first[name]
                assert same, name


def test_a_table_of_cells_goes_on_behind_the_last_picture_that_is_whole(tmp_path):
    names = columns(CLASSES, cells=True)
    figures = {"predicted": "dark", "status": "ok", "confidence": 0.9}
    figures |= {"prob_dark": 0.9, "prob_light": 0.1, "x": 3.0, "y": 4.0}
    files = [tmp_path / f"{number}.png" for number in range(4)]
    rows = [{"path": str(file), **figures, "cell": n} for file in files for n in (1, 2)]

    def write(stop_after):
        with table_file(tmp_path / "out.csv", names, key="k") as table:
            kept = list(table.kept(files, batch_size=1))
            for number, row in enumerate(rows[len(kept) :]):
                if number == stop_after:
                    raise KeyboardInterrupt
                table.write(row)
        return kept

    with pytest.raises(KeyboardInterrupt):
        write(stop_after=5)
    assert [(row["path"][-5], row["cell"]) for row in write(None)] == [
        ("0", 1), ("0", 2), ("1", 1), ("1", 2),
    ]  # fmt: skip
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows)


def test_the_command_gives_each_cell_its_row(folder, tmp_path):
    model = write_model(tmp_path / "model.onnx", view="standard", um_per_pixel=VIEW_UM)
    command = [sys.executable, "-m", "hv_utils.cli", "predict", folder, "--model", model]
    command += ["--csv", tmp_path / "out.csv", "--cam", tmp_path / "cam"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 3, "a line each: cut off, nothing, only red cells"
    with open(tmp_path / "out.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns(CLASSES, cells=True)
    assert [row["cell"] for row in rows] == ["1", "", "1", "", "1", "2"]
    names = sorted(path.name for path in (tmp_path / "cam").iterdir())
    assert names == ["cut-cam.png", "one-cam.png", "two-cam-cell2.png", "two-cam.png"]
    refused = subprocess.run(
        [*map(str, command[:6]), "--um-per-pixel", "500"], capture_output=True, text=True, cwd=ROOT
    )
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
