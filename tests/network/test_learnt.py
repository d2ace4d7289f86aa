"""Start weights may not be judged on cells that they have learnt from."""

import json

import pandas as pd
import pytest

from hv_utils.data.source_map import read_source_map
from hv_utils.data.splits import LeakError
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run
from hv_utils.inference.onnx_model import SHIPPED_MODEL, facts_path
from hv_utils.network.learnt import cells_learnt, check_not_learnt, learnt_before
from hv_utils.studies import probes


def table(**splits):
    rows = [
        {"path": f"{cell}.png", "label": "monocyte", "split": split, "group": cell, "cell": cell}
        for split, cells in splits.items()
        for cell in cells
    ]
    return pd.DataFrame(rows).assign(source="kaggle")


@pytest.fixture
def start(tmp_path):
    """Return start weights that have learnt from the cells 00001 and 00002."""
    path = tmp_path / "model.keras"
    path.touch()
    learnt = cells_learnt(table(train=["00002", "00001", "00001"], val=["00003"]))
    (tmp_path / "model.keras.json").write_text(json.dumps({"learnt": learnt}))
    return str(path)


def test_what_was_learnt_adds_up(start):
    assert learnt_before(start) == ["kaggle/00001", "kaggle/00002"]
    longer = cells_learnt(table(train=["00004", "00001"]), start)
    assert longer == ["kaggle/00001", "kaggle/00002", "kaggle/00004"]
    assert learnt_before("lite0") == learnt_before("imagenet") == []


def test_cells_that_were_held_out_before_may_judge(start):
    check_not_learnt(table(train=["00001"], val=["00003"], test=["00005"]), start)
    demo = table(train=["00007"], val=["00001"]).assign(source="demo")
    check_not_learnt(demo, start)  # another cell of the same number


def test_copies_of_the_real_set_are_known_by_their_content():
    learnt = learnt_before("hematovision")
    sources = read_source_map()
    row = sources[("kaggle/" + sources["group"]).isin(learnt)].iloc[0]
    own = table(test=["x"]).assign(source="folder", group=pd.NA, cell=pd.NA, sha256="0" * 64)
    check_not_learnt(own, "hematovision")
    with pytest.raises(LeakError, match=row["group"]):
        check_not_learnt(own.assign(sha256=row["sha256"]), "hematovision")


def test_a_model_that_does_not_tell_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.touch()
    for text in (None, "{}"):
        if text:
            (tmp_path / "model.keras.json").write_text(text)
        with pytest.raises(HematoVisionError, match="train it again"):
            check_not_learnt(table(test=["00001"]), str(path))


@pytest.mark.parametrize("split", ["val", "test", "simple"])
def test_cells_that_were_learnt_may_not(start, split):
    with pytest.raises(LeakError, match="kaggle/00001"):
        check_not_learnt(table(train=["00004"], **{split: ["00001", "00003"]}), start)
    check_not_learnt(table(train=["00001"], unplaced=["00001"]), start)


def test_cross_validation_refuses_them_on_the_training_part(start, tmp_path):
    rows = table(train=["00001", "00002"], val=["00003"])
    check_not_learnt(rows, start)
    with pytest.raises(LeakError, match=r"00001 \(and 1 more\)"):
        probes.frozen_features(Run.open(tmp_path), rows, weights=start)


def test_the_model_in_the_box_tells_its_cells():
    learnt = json.loads(facts_path(SHIPPED_MODEL).read_text(encoding="utf-8"))["learnt"]
    assert len(learnt) > 200
    with pytest.raises(LeakError, match="hematovision"):
        check_not_learnt(table(val=[learnt[0].split("/")[1]]), "hematovision")
