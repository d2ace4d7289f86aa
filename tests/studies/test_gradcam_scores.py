from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hv_utils.ground.errors import HematoVisionError
from hv_utils.studies.gradcam_scores import (
    box_mask,
    energy_ceiling,
    energy_inside,
    peak_inside,
    random_map,
    read_mask,
    score_map,
    score_maps,
    targets_of,
)


def test_energy_and_peak():
    heat_map = np.array([[1.0, 0.0], [0.0, 3.0]])
    mask = np.array([[False, False], [False, True]])
    assert energy_inside(heat_map, mask) == pytest.approx(0.75)
    assert peak_inside(heat_map, mask)
    assert energy_inside(heat_map, ~mask) == pytest.approx(0.25)
    assert not peak_inside(heat_map, ~mask)
    assert np.isnan(energy_inside(np.zeros((2, 2)), mask))
    assert not peak_inside(np.ones((2, 2)), mask)
    with pytest.raises(HematoVisionError, match="one by one"):
        energy_inside(heat_map[None], mask)


def test_the_ceiling_is_what_the_best_single_point_scores():
    mask = np.zeros((48, 64), bool)
    mask[10:22, 30:44] = True
    points = np.eye(7 * 8, dtype=np.float32).reshape(-1, 7, 8)
    best = max(energy_inside(point, mask) for point in points)
    assert energy_ceiling((7, 8), mask) == pytest.approx(best, rel=1e-4)
    assert 0.3 < best < 0.95
    assert energy_ceiling((48, 64), mask) == pytest.approx(1), "as fine as the target itself"
    rng = np.random.default_rng(0)
    assert max(energy_inside(random_map((7, 8), rng, grid=(7, 8)), mask) for _ in range(50)) < best


def test_an_even_map_scores_the_area_at_any_resolution():
    mask = box_mask((240, 320), 40, 30, 120, 90)
    assert mask.sum() == 80 * 60
    scores = score_map(np.ones((7, 7)), {"box": mask, "empty": np.zeros_like(mask)})
    assert scores["energy_box"] == pytest.approx(scores["area_box"], rel=1e-4)
    assert scores["area_box"] == pytest.approx(1 / 16)
    assert scores["peak_box"] == 0
    assert np.isnan([scores[f"{kind}_empty"] for kind in ("energy", "area", "peak")]).all()


def test_random_maps_score_the_area_on_average():
    mask = box_mask((56, 56), 14, 7, 42, 35)
    rng = np.random.default_rng(0)
    maps = [random_map((56, 56), rng) for _ in range(400)]
    assert min(m.min() for m in maps) >= 0
    energy = np.mean([energy_inside(m, mask) for m in maps])
    assert energy == pytest.approx(mask.mean(), abs=0.02)
    assert np.ptp([energy_inside(m, mask) for m in maps]) > 0.1
    again = random_map((56, 56), np.random.default_rng(0))
    np.testing.assert_array_equal(again, maps[0])


def test_read_mask(tmp_path):
    grey = np.zeros((20, 30), np.uint8)
    grey[5:15, 5:25] = 128
    grey[8:12, 10:15] = 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask["nucleus"].sum() == 4 * 5
    assert mask["cell"].sum() == 10 * 20
    assert not (mask["nucleus"] & ~mask["cell"]).any()


def test_targets_are_those_that_are_known():
    row = SimpleNamespace(width=40, height=30, mask=np.nan, xmin=10, ymin=5, xmax=20, ymax=15)
    assert {name: mask.sum() for name, mask in targets_of(row).items()} == {"box": 100}
    assert targets_of(SimpleNamespace(width=40, height=30, xmin=np.nan)) == {}


def test_a_row_that_is_a_series_knows_its_mask(tmp_path):
    Image.fromarray(np.full((18, 20), 255, np.uint8)).save(tmp_path / "mask.png")
    row = pd.Series({"width": 20, "height": 18, "mask": str(tmp_path / "mask.png")})
    assert set(targets_of(row)) == {"nucleus", "cell"}


def test_a_table_of_maps_is_scored_beside_chance(tmp_path):
    table = pd.DataFrame(
        {
            "path": ["a", "b"],
            "label": "monocyte",
            "predicted": "monocyte",
            "cell": ["1", None],
            "width": 70,
            "height": 70,
            "xmin": [0, np.nan],
            "ymin": [0, np.nan],
            "xmax": [35, np.nan],
            "ymax": [70, np.nan],
        }
    )
    heat_maps = np.zeros((2, 7, 7), np.float32)
    heat_maps[:, 3, 1] = 5.0
    scored = score_maps(table, heat_maps)
    assert scored["energy_box"][0] == pytest.approx(1)
    assert scored["peak_box"][0] == 1
    assert scored["area_box"][0] == 0.5
    assert 0 < scored["random_energy_box"][0] < 1
    assert scored.loc[1].filter(like="box").isna().all()
