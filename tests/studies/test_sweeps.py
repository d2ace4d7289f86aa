"""The table of a sweep: means and intervals that are known, and a page without traps."""

from types import SimpleNamespace

import numpy as np
import pytest

from hv_utils.studies.sweeps import (
    mean_interval,
    sweep_means,
    sweep_table,
    sweep_text,
    write_sweep,
)


def outcome(name, score, *, error="", **varied):
    metrics = {"macro_f1": score, "accuracy": score}
    metrics["per_cell"] = {**metrics, "intervals": {"macro_f1": {"low": 0.1, "high": 0.9}}}
    point = SimpleNamespace(name=name, varied=varied)
    return SimpleNamespace(
        point=point, error=error, seconds=1.0, metrics=None if error else metrics
    )


@pytest.fixture
def table():
    found = [
        outcome(f"seed-{seed}-dropout-{rate}", 0.8 + seed / 100, seed=str(seed), dropout=rate)
        for seed in range(3)
        for rate in ("0.2", "0.4")
    ]
    found.append(outcome("seed-3-dropout-0.4", 0, seed="3", dropout="0.4", error="<b>no</b>"))
    return sweep_table(found)


def test_students_interval():
    values = np.array([0.80, 0.81, 0.82])
    found = mean_interval(values)
    assert found["mean"] == pytest.approx(0.81)
    assert found["high"] - found["mean"] == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-4)
    rng = np.random.default_rng(0)
    held = [mean_interval(rng.normal(size=5)) for _ in range(2000)]
    assert np.mean([one["low"] <= 0 <= one["high"] for one in held]) == pytest.approx(
        0.95, abs=0.015
    )


def test_means_go_over_seeds_and_leave_failed_runs_out(table):
    means = sweep_means(table)
    first = means[means["score"] == "macro_f1_by_cell"].set_index("dropout")
    assert list(first["n"]) == [3, 3]
    assert first.loc["0.4", "mean"] == pytest.approx(0.81)


def test_one_run_has_no_interval():
    means = sweep_means(sweep_table([outcome("a", 0.8, dropout="0.2")]))
    assert means["low"].isna().all()
    assert means["mean"].notna().all()


def test_the_page_needs_nothing_and_trusts_no_value(table, tmp_path):
    page = write_sweep(
        table, tmp_path, title="Sweep x", command="hv sweep -p x <script>"
    ).read_text()
    assert "<script" not in page
    assert "&lt;b&gt;no" in page
    assert page.count('class="run"') == 6
    assert page.count('class="interval"') == 2
    assert "src=" not in page
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "sweep.csv", "means.csv"}
    assert "0.81 " in sweep_text(table)


def test_a_sweep_of_which_nothing_came(tmp_path):
    failed = sweep_table([outcome("a", 0, seed=str(n), error="no") for n in range(2)])
    assert "no" in write_sweep(failed, tmp_path, title="x", command="x").read_text()
