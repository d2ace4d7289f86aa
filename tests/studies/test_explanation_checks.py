"""The checks: each can be passed and failed, and controls have no say."""

import numpy as np
import pandas as pd
import pytest

from hv_utils.ground.errors import HematoVisionError
from hv_utils.scores.verdicts import CONFIRMED, REFUTED, UNDECIDED
from hv_utils.studies import explanation_checks as checks
from hv_utils.studies.attributions import Asked, Attribution
from hv_utils.studies.explanation_checks import AGAIN, CHECKS, FAILED, PASSED

SIZE = (64, 96)
NUCLEUS = np.zeros(SIZE, bool)
NUCLEUS[16:32, 32:48] = True
CELL = np.zeros(SIZE, bool)
CELL[16:48, 32:64] = True


class Dark:
    """A judge whose probability is the share of the cell that is still dark."""

    names = ("trained",)

    def first(self, images):
        dark = 1 - images[:, CELL].mean(axis=(1, 2)) / 255
        return np.stack([0 * dark, 12 * dark - 6], axis=1)


@pytest.fixture
def image():
    picture = np.full((*SIZE, 3), 255, np.uint8)
    picture[CELL] = 0
    return picture


def attribution(*maps, names=("trained", "logits", "top", *AGAIN)):
    return Attribution(dict(zip(names, maps, strict=False)), None, 0.2)


def test_maps_of_any_grid_are_compared_in_blocks():
    assert checks.in_blocks(CELL.astype(np.float32), SIZE).tolist() == [
        [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]
    ]  # fmt: skip
    assert checks.in_blocks(np.ones((2, 3), np.float32), SIZE).shape == (4, 6)
    with pytest.raises(HematoVisionError, match="16x16"):
        checks.in_blocks(np.ones((2, 2)), (10, 10))


def test_similarity_of_flat_and_of_broken_maps_is_none():
    a = np.arange(6.0)
    assert checks.similarity(a, 3 * a + 1) == pytest.approx(1)
    assert checks.similarity(a, -a) == pytest.approx(-1)
    assert checks.similarity(a, np.ones(6)) == 0
    assert checks.similarity(a, np.full(6, np.nan)) == 0


def test_deletion_and_insertion_tell_a_map_of_the_cell_from_one_beside_it(image):
    heats = {"on": CELL.astype(np.float32), "off": 1 - CELL.astype(np.float32)}
    white = {"ground": np.full_like(image, 255)}
    found = checks.faithfulness(Asked(Dark()), image, 1, heats, white, shares=(0.1, 0.16))
    assert found["on"]["deletion_ground"] < found["off"]["deletion_ground"] - 0.3
    assert found["on"]["insertion_ground"] > found["off"]["insertion_ground"] + 0.3


def test_the_scores_of_an_image(image):
    rng = np.random.default_rng(0)
    noise = [rng.random(SIZE).astype(np.float32) for _ in range(5)]
    heat = NUCLEUS.astype(np.float32)
    found = {
        "good": attribution(heat, noise[0], noise[1], heat, heat),
        "stubborn": attribution(heat, heat, noise[1], heat, noise[2]),
        "random": attribution(*noise),
    }
    targets, white = {"nucleus": NUCLEUS, "cell": CELL}, {"ground": np.full_like(image, 255)}
    rows = checks.score_image(Asked(Dark()), image, 1, found, targets, white)
    good, stubborn, random = rows
    assert good["energy_nucleus"] == pytest.approx(1)
    assert good["gain_nucleus"] == pytest.approx(1 - NUCLEUS.mean())
    assert good["deletion_ground"] > 0.02
    assert good["insertion_ground"] > 0.01
    assert (good["repeat"], stubborn["similar_logits"]) == (pytest.approx(1), pytest.approx(1))
    assert max(good["similar_logits"], good["similar_top"], stubborn["repeat"]) < 0.6
    assert good["agreement"] == pytest.approx(1), "with the other method, not with chance"
    assert abs(random["gain_nucleus"]) < 0.02


def scores(**methods):
    """Return a table of scores of ten cells: passing ones, changed as asked."""
    rng, rows = np.random.default_rng(0), []
    good = {c.column: c.bound + (-0.3 if c.less_is_better else 0.3) for c in CHECKS}
    good["similar_top"] = good.pop("similar_")
    good["similar_logits"] = 0.0
    for name, changed in methods.items():
        for cell in range(10):
            row = {key: value + rng.normal(0, 0.02) for key, value in (good | changed).items()}
            rows.append({"method": name, "cell": str(cell), **row, "peak_nucleus": 1.0})
    return pd.DataFrame(rows)


def test_every_check_can_be_passed_and_failed():
    bad = {c.column: c.bound + (0.3 if c.less_is_better else -0.3) for c in CHECKS}
    bad["similar_logits"] = bad.pop("similar_")
    table = checks.judge_all(scores(good={}, bad=bad))
    by = table.set_index(["method", "check"])["verdict"]
    for check in CHECKS:
        assert by["good", check.name] == PASSED, check.name
        if check.column != "peak_nucleus":
            assert by["bad", check.name] == FAILED, "the worst stage counts"
        assert f"{check.bound:g}" in check.rule
    assert checks.wide(table).loc["needs the weights"].to_dict() == {"good": PASSED, "bad": FAILED}
    never = checks.judge(CHECKS[3], pd.Series([0.0] * 10), pd.Series(range(10)))
    assert never["verdict"] == FAILED


def test_what_holds_the_bound_or_has_one_cell_is_undecided():
    check, cells = CHECKS[2], pd.Series(list("abcdefgh"))
    wide = checks.judge(check, pd.Series([0.1, 0.9] * 4), cells)
    assert wide["verdict"] == UNDECIDED
    one = checks.judge(check, pd.Series([0.9, np.nan]), cells[:2])
    assert (one["verdict"], one["low"]) == (UNDECIDED, None)
    none = checks.judge(check, pd.Series(dtype=float), cells)
    assert none["verdict"] == UNDECIDED


def test_a_method_alone_agrees_with_nobody_and_is_undecided():
    alone = scores(a={"agreement": float("nan")})
    by = checks.judge_all(alone).set_index("check")["verdict"]
    assert by["agrees with others"] == UNDECIDED
    assert by["on the cell"] == PASSED


def test_the_claim_can_come_out_either_way():
    low = {"energy_nucleus": 0.3}
    for methods, expected in (
        ({"a": {}, "b": {}}, CONFIRMED),
        ({"a": low, "b": low}, REFUTED),
        ({"a": low, "b": {}}, UNDECIDED),
        ({"a": low | {"repeat": 0.1}, "b": {}}, CONFIRMED),
        ({"a": {"deletion_blur": -0.2}}, UNDECIDED),
        ({"a": {}, "cell outline": low}, CONFIRMED),
    ):
        record = checks.as_record(scores(**methods))
        assert record["verdict"] == expected, methods
        assert "cell outline" not in record["trusted"]
        assert record["n_cells"] == 10
        assert set(record["stages"]) == set(methods)


def test_what_is_no_better_than_chance_seldom_passes_any_of_the_checks():
    rng, cells, check = np.random.default_rng(1), pd.Series(range(64)), CHECKS[0]
    means = rng.normal(size=(200, 64))
    passed = [checks.judge(check, pd.Series(row), cells)["verdict"] == PASSED for row in means]
    assert np.mean(passed) < 0.02, "of one check; at 95 % for each it would be one in forty"
    sure = checks.judge(check, pd.Series(means[0] + 2), cells)
    assert sure["verdict"] == PASSED
