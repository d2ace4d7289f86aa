import numpy as np
import pandas as pd
import pytest

from hv_utils.data.splits import (
    LeakError,
    check_no_leak,
    grouped_folds,
    hold_out,
    limit_copies,
    source_groups,
)
from hv_utils.ground.errors import HematoVisionError

PHOTOS = {"eosinophil": 12, "lymphocyte": 6, "monocyte": 4, "neutrophil": 25}


def image_table(per_class=300, photos=PHOTOS, seed=0):
    """Copies of few photos, balanced over the classes as the real set is."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, (label, count) in enumerate(photos.items()):
        for i in range(per_class):
            rows.append((f"{label}_{i}.jpeg", label, f"{1000 * k + rng.integers(count):05d}"))
    table = pd.DataFrame(rows, columns=["path", "label", "cell"]).astype({"cell": "string"})
    table = table.assign(split="train", group=table["cell"], source="demo")
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)


def test_hold_out_keeps_photos_whole_and_classes_balanced():
    table = image_table()
    split = hold_out(table, fraction=0.2, seed=3)
    assert (split.groupby("cell")["split"].nunique() == 1).all()
    shares = (split["split"] == "val").groupby(split["label"]).mean()
    assert shares.between(0.05, 0.4).all()
    assert abs(shares.mean() - 0.2) < 0.06
    assert (table["split"] == "train").all(), "the table given must stay as it was"
    check_no_leak(split)


def test_hold_out_depends_on_the_seed_alone():
    table = image_table()
    first, again, other = (hold_out(table, seed=seed)["split"] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_groups_of_several_photos_stay_together():
    table = image_table()
    cells = sorted(table.loc[table["label"] == "neutrophil", "cell"].unique())
    table.loc[table["cell"].isin(cells[:6]), "group"] = cells[0]
    split = hold_out(table, seed=0)
    assert split.loc[split["cell"].isin(cells[:6]), "split"].nunique() == 1


def test_only_training_rows_move():
    table = image_table()
    table.loc[table["cell"].isin(sorted(table["cell"].unique())[::3]), "split"] = "test"
    split = hold_out(table, seed=0)
    was_test = table["split"] == "test"
    assert ((split["split"] == "test") == was_test).all()
    assert {"train", "val"} == set(split.loc[~was_test, "split"])


def test_without_any_source_images_are_drawn_singly():
    table = image_table().assign(cell=pd.NA, group=pd.NA)
    split = hold_out(table, fraction=0.25, seed=0)
    assert abs((split["split"] == "val").mean() - 0.25) < 0.02
    check_no_leak(split)


def test_without_sources_the_same_file_stays_on_one_side():
    table = image_table(per_class=60).assign(cell=pd.NA, group=pd.NA)
    table["sha256"] = [f"file {i // 2}" for i in range(len(table))]
    check_no_leak(hold_out(table.sort_values("label", ignore_index=True), seed=0))


def test_rows_without_a_source_are_safe_on_neither_side():
    table = image_table()
    table.loc[:9, ["cell", "group"]] = pd.NA
    split = hold_out(table, seed=0)
    assert (split.loc[:9, "split"] == "unplaced").all()
    check_no_leak(split)
    split.loc[0, "split"] = "train"
    with pytest.raises(LeakError, match="1 have none"):
        check_no_leak(split)


def test_few_photos_are_still_split_with_every_class_on_both_sides():
    split = hold_out(image_table(per_class=12, photos=dict.fromkeys("abc", 2)), seed=0)
    assert (split.groupby("split")["label"].nunique() == 3).all()


@pytest.mark.parametrize("fraction", [0, -0.1, 0.6, float("nan")])
def test_hold_out_refuses_a_silly_fraction(fraction):
    with pytest.raises(HematoVisionError, match="share"):
        hold_out(image_table(), fraction=fraction, seed=0)


def test_hold_out_names_the_class_with_a_single_photo():
    table = image_table(photos={**PHOTOS, "monocyte": 1})
    with pytest.raises(HematoVisionError, match="monocyte has 1"):
        hold_out(table, seed=0)


def test_hold_out_needs_training_rows():
    with pytest.raises(HematoVisionError, match="split 'train'"):
        hold_out(image_table().assign(split="test"), seed=0)


def test_a_leak_is_refused_by_name():
    split = hold_out(image_table(), seed=0)
    cell = split.loc[split["split"] == "val", "cell"].iloc[0]
    row = split.index[split["cell"] == cell][0]
    split.loc[row, "split"] = "train"
    with pytest.raises(LeakError) as caught:
        check_no_leak(split)
    message = str(caught.value)
    assert f"photo {cell} is in train and val" in message
    assert "\n" not in message


def test_a_leak_through_a_group_or_an_identical_file_is_refused():
    table = pd.DataFrame(
        {
            "path": ["a.png", "b.png"],
            "label": "monocyte",
            "split": ["train", "test"],
            "cell": ["00001", "00002"],
            "group": ["00001", "00001"],
        }
    )
    with pytest.raises(LeakError, match="photo group 00001 is in train and test"):
        check_no_leak(table)
    same = table.drop(columns="group").assign(sha256="f" * 64)
    with pytest.raises(LeakError, match=r"file content f+, a\.png, is in train and test"):
        check_no_leak(same)


def test_simple_rows_belong_to_the_test_side():
    columns = {"path": list("abc"), "label": "x", "cell": ["1", "1", "2"]}
    table = pd.DataFrame(columns).assign(split=["test", "simple", "train"])
    check_no_leak(table)
    with pytest.raises(LeakError, match="train and test"):
        check_no_leak(table.assign(cell=["1", "2", "2"]))


def test_grouped_folds_use_every_row_once_and_no_photo_twice():
    table = image_table()
    tested = np.zeros(len(table), int)
    for train, test in grouped_folds(table, 4, seed=0):
        tested[test] += 1
        assert not set(table["cell"].iloc[train]) & set(table["cell"].iloc[test])
        assert table["label"].iloc[test].nunique() == len(PHOTOS)
    assert (tested == 1).all()


def test_grouped_folds_refuse_more_folds_than_photos_and_unknown_sources():
    table = image_table()
    with pytest.raises(HematoVisionError, match="monocyte has 4"):
        next(grouped_folds(table, 5, seed=0))
    table.loc[0, ["cell", "group"]] = pd.NA
    with pytest.raises(HematoVisionError, match="1 of"):
        next(grouped_folds(table, 4, seed=0))


def test_source_groups_fall_back_to_the_cell():
    table = image_table().drop(columns="group")
    assert source_groups(table).equals(table["cell"])


def test_kinds_within_a_class_are_spread_over_both_sides():
    """Four hard cells in twenty: whatever the seed, two of them are held out with eight others."""
    cells = [f"{label}{number}" for label in "ab" for number in range(20)]
    table = pd.DataFrame(
        {
            "label": [cell[0] for cell in cells],
            "cell": cells,
            "variant": ["hard" if int(cell[1:]) < 4 else "typical" for cell in cells],
            "split": "train",
        }
    ).loc[np.repeat(np.arange(40), 3)]
    table = table.reset_index(drop=True)
    for seed in range(6):
        held = hold_out(table, fraction=0.5, seed=seed).query("split == 'val'")
        counts = held.drop_duplicates("cell").groupby(["label", "variant"]).size()
        assert counts.to_dict() == {
            ("a", "hard"): 2,
            ("a", "typical"): 8,
            ("b", "hard"): 2,
            ("b", "typical"): 8,
        }
    table.loc[table["cell"] == "a0", "variant"] = "of its own"
    held = hold_out(table, fraction=0.5, seed=0)
    assert held["split"].nunique() == 2, "one cell of a kind is no reason to fail"


def test_a_limit_of_copies_spares_every_cell_and_what_has_none():
    table = pd.DataFrame({"path": list("abcdefgh"), "cell": [*"xxxxyy", None, None]})
    few = limit_copies(table, 2, seed=0)
    assert few["cell"].value_counts().to_dict() == {"x": 2, "y": 2}
    assert few["cell"].isna().sum() == 2
    assert few.equals(table.loc[few.index])
    assert list(few.index) == sorted(few.index)
    assert limit_copies(table, 0, seed=0).equals(table)
    with pytest.raises(HematoVisionError, match="0 for all"):
        limit_copies(table, -1, seed=0)
