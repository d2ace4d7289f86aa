"""Items of a test: difficulty, discrimination, agreement."""

import numpy as np
import pytest
from scipy.stats import binomtest, pearsonr
from sklearn.metrics import cohen_kappa_score

from hv_utils.scores.items import item_table, kappa, mean_kappa


@pytest.fixture
def right():
    """Twenty readers of differing skill and five items: the last turns skill upside down."""
    rng = np.random.default_rng(0)
    skill = np.linspace(-2, 2, 20)[:, None]
    logit = skill * [2, 2, 2, 2, -2] + [1, 0, 0, -1, 0]
    return (rng.random((20, 5)) < 1 / (1 + np.exp(-logit))).astype(float)


def test_the_difficulty_is_the_share_of_right_answers_with_exact_limits(right):
    table = item_table(right)
    assert np.allclose(table["difficulty"], right.mean(0))
    for row in table.itertuples():
        exact = binomtest(row.right, 20).proportion_ci(method="exact")
        assert (row.low, row.high) == pytest.approx((exact.low, exact.high))


def test_the_discrimination_leaves_the_item_itself_out(right):
    found = item_table(right)["discrimination"]
    for item in range(5):
        rest = np.delete(right, item, axis=1).mean(1)
        assert found[item] == pytest.approx(pearsonr(right[:, item], rest).statistic)
    assert found[4] < 0 < found[1]


def test_who_was_not_asked_does_not_count(right):
    right[:5, 0] = np.nan
    table = item_table(right)
    assert list(table["readers"]) == [15, 20, 20, 20, 20]
    assert table["difficulty"][0] == right[5:, 0].mean()
    right[:, 1] = np.nan
    assert item_table(right)["difficulty"].isna().tolist() == [False, True, False, False, False]


def test_few_readers_or_no_difference_leave_the_discrimination_open(right):
    assert item_table(right[:9])["discrimination"].isna().all()
    assert item_table(right[:10])["discrimination"].notna().any()
    right[:, 2] = 1
    assert np.isnan(item_table(right)["discrimination"][2])


def test_kappa_counts_what_both_have_named():
    first, second = (np.array(x, object) for x in (["a", "b", None, "a", "b"], [*"aba", None, "a"]))
    assert kappa(first, second) == pytest.approx(cohen_kappa_score([*"abb"], [*"aba"]))
    assert np.isnan(kappa(np.array(["a", "a"], object), np.array(["a", "a"], object)))
    assert np.isnan(kappa(np.array([None, "a"], object), np.array(["b", None], object)))


def test_the_mean_kappa_is_that_of_all_pairs():
    answers = np.array([[*"abab"], [*"abba"], [*"abab"]], object)
    pairs = [(0, 1), (0, 2), (1, 2)]
    each = [cohen_kappa_score(answers[a].astype(str), answers[b].astype(str)) for a, b in pairs]
    assert mean_kappa(answers) == pytest.approx(np.mean(each))
    assert np.isnan(mean_kappa(answers[:1]))
