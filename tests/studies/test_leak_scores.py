import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hv_utils.ground.predictions import label_index
from hv_utils.scores.bootstrap import percentiles
from hv_utils.scores.intervals import bootstrap_interval
from hv_utils.studies import leak_scores

CLASSES = ["a", "b", "c"]


def judged(share_right=0.7, cells=(12, 8, 5), copies=6, seed=0, luck=0.0):
    """Verdicts that are right or wrong for whole cells; `luck` turns single images."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, count in enumerate(cells):
        for i in range(count):
            verdict = k if rng.random() < share_right else (k + 1) % 3
            for j in range(copies):
                probs = np.full(3, 0.1)
                probs[(verdict + 1) % 3 if rng.random() < luck else verdict] = 0.8
                rows.append((f"{k}_{i}_{j}.png", CLASSES[k], f"{k}{i:02d}", *probs))
    columns = ["path", "label", "cell", *(f"prob_{name}" for name in CLASSES)]
    return pd.DataFrame(rows, columns=columns).astype({"cell": "string"})


def test_resamples_are_those_of_the_intervals():
    table = judged()
    expected = bootstrap_interval(table, seed=4)
    found = percentiles(leak_scores.f1_resamples(table, seed=4))
    assert found["low"] == pytest.approx(expected["macro_f1"]["low"])
    assert found["high"] == pytest.approx(expected["macro_f1"]["high"])


def test_scores_per_image_and_per_cell():
    table = judged(luck=0.2)
    found = leak_scores.summarise(table, n_resamples=400)
    predicted = np.array(CLASSES)[table.filter(like="prob_").to_numpy().argmax(1)]
    assert found["image"]["macro_f1"] == pytest.approx(
        f1_score(table["label"], predicted, average="macro")
    )
    assert (found["n_images"], found["n_cells"], found["resampled"]) == (150, 25, "cells")
    for view in ("image", "cell"):
        assert found[view]["low"] <= found[view]["macro_f1"] <= found[view]["high"]
    assert found["cell"]["macro_f1"] > found["image"]["macro_f1"], "copies outvote the luck"


def test_without_cells_images_are_resampled_and_the_interval_is_too_short():
    table = judged()
    known = leak_scores.summarise(table)["image"]
    found = leak_scores.summarise(table.assign(cell=pd.NA))
    assert found["cell"] is None
    assert found["n_cells"] is None
    assert found["resampled"] == "images"
    width = found["image"]["high"] - found["image"]["low"]
    assert width < 0.6 * (known["high"] - known["low"])


def test_where_groups_are_all_that_is_known_they_are_resampled():
    table = judged()
    grouped = table.assign(group=table["cell"], cell=pd.NA)
    found, known = leak_scores.summarise(grouped), leak_scores.summarise(table)
    assert found["image"] == known["image"]
    assert (found["cell"], found["n_cells"]) == (None, None)
    assert (found["resampled"], found["n_resampled"]) == ("groups", 25)


def test_inflation_is_paired():
    source = judged(share_right=0.6)
    random = source.copy()
    chosen = random["cell"].isin(sorted(random["cell"].unique())[::3])
    right = np.full((len(random), 3), 0.1)
    right[np.arange(len(random)), label_index(random["label"], CLASSES)] = 0.8
    random.loc[chosen, [f"prob_{name}" for name in CLASSES]] = right[chosen]
    pair = {"random": random, "source": source}
    found = leak_scores.inflation(pair)
    assert found["value"] == pytest.approx(
        leak_scores.macro_f1(random) - leak_scores.macro_f1(source)
    )
    assert 0 <= found["low"] <= found["value"] <= found["high"]
    drawn = [leak_scores.f1_resamples(table) for table in (random, source)]
    apart = np.sqrt(np.var(drawn[0]) + np.var(drawn[1])) * 2 * 1.96
    assert found["high"] - found["low"] < apart, "what both find hard cancels out"


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((1.0, 0.3), "inflates the score"),
        ((0.3, 1.0), "lowers the score"),
        ((0.6, 0.6), "makes no difference we can tell"),
    ],
)
def test_verdicts_on_inflation(shares, verdict):
    pair = {
        name: judged(share, seed=i)
        for i, (name, share) in enumerate(zip(("random", "source"), shares, strict=True))
    }
    assert leak_scores.inflation(pair)["verdict"] == verdict
    assert leak_scores.inflation({"random": pair["random"]}) is None


def test_chance_is_what_dealt_verdicts_score():
    rng = np.random.default_rng(0)
    table = judged(cells=(20, 20, 20))
    table[[f"prob_{name}" for name in CLASSES]] = rng.dirichlet([1, 1, 1], len(table))
    found = leak_scores.chance(table)
    assert found["macro_f1"] == pytest.approx(1 / 3, abs=0.02)
    assert found["low"] < found["macro_f1"] < found["high"]
    guessed = leak_scores.summarise(table)["image"]
    assert leak_scores.against_chance(guessed, found) == "not told apart from chance"
    knowing = leak_scores.summarise(judged(share_right=0.9, cells=(20, 20, 20)))["image"]
    assert leak_scores.against_chance(knowing, found) == "better than chance"
    wrong = leak_scores.summarise(judged(share_right=0, cells=(20, 20, 20)))["image"]
    assert leak_scores.against_chance(wrong, found) == "worse than chance"


def repeats(n=3):
    parts = [judged(luck=0.3, seed=0).assign(repeat=0)]
    for i in range(1, n):
        parts.append(judged(luck=0.3, share_right=0.7, seed=i).assign(repeat=i))
    return pd.concat(parts, ignore_index=True)


def test_repeats_have_mean_spread_and_interval():
    oof = repeats()
    found = leak_scores.repeated_summary(oof, n_resamples=500)
    assert (found["n_images"], found["n_cells"], found["n_repeats"]) == (150, 25, 3)
    for view in ("image", "cell"):
        assert found[view]["mean"] == pytest.approx(np.mean(found[view]["scores"]))
        assert found[view]["sd"] == pytest.approx(np.std(found[view]["scores"], ddof=1))
        assert found[view]["low"] < found[view]["mean"] < found[view]["high"]
    assert found["image"]["scores"][1] == leak_scores.macro_f1(oof[oof["repeat"] == 1])
    assert leak_scores.repeated_summary(oof[oof["repeat"] == 0])["image"]["sd"] is None
