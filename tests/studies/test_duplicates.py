"""Duplicates: equal files, alike photos, and photos of one field."""

import tracemalloc

import cv2
import numpy as np
import pandas as pd
import pytest

from hv_utils.studies import duplicates


def scene(seed):
    """Return a photo-like image, uint8 (120, 160, 3): smooth blobs."""
    noise = np.random.default_rng(seed).random((15, 20, 3)).astype(np.float32)
    return (cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(
        np.uint8
    )


def bits(first, second):
    hashes = [duplicates.difference_hash(image) for image in (first, second)]
    return int((hashes[0] != hashes[1]).sum())


class TestHash:
    def test_survives_scaling_compression_and_light(self):
        image = scene(0)
        small = cv2.resize(image, (100, 75), interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])
        dark = (image * 0.8).astype(np.uint8)
        assert duplicates.difference_hash(image).shape == (256,)
        for changed in (small, cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dark):
            assert bits(image, changed) <= 20

    def test_tells_others_apart(self):
        assert min(bits(scene(a), scene(b)) for a in range(6) for b in range(a)) > 60

    def test_pairs_are_counted_right_and_sorted(self):
        hashes = np.zeros((4, 16), bool)
        hashes[1, :3] = hashes[2, :1] = True
        hashes[3] = True
        pairs = duplicates.hash_pairs(hashes, max_bits=3)
        assert pairs.to_numpy().tolist() == [[0, 2, 1], [1, 2, 2], [0, 1, 3]]


def test_exact_duplicates_are_sets_of_equal_content():
    images = pd.DataFrame(
        {
            "path": list("abcde"),
            "label": ["x", "x", "y", "x", "y"],
            "split": ["train", "test", "test", "train", "test"],
            "cell": ["1", "1", "2", pd.NA, "3"],
            "sha256": ["p", "p", "q", "r", "q"],
        }
    )
    found = duplicates.exact_duplicates(images)
    assert found["n"].tolist() == [2, 2]
    assert found["paths"].tolist() == [["a", "b"], ["c", "e"]]
    assert found["splits"].tolist() == [("test", "train"), ("test",)]
    assert found["cells"].tolist() == [("1",), ("2", "3")]
    assert duplicates.exact_duplicates(images.drop_duplicates("sha256")).empty


def test_pairs_of_hashes_are_those_of_every_comparison_in_bounded_memory():
    rng = np.random.default_rng(0)
    hashes = rng.random((2000, 256)) < 0.5
    hashes[1999] = hashes[3] ^ (np.arange(256) < 5)
    hashes[700] = hashes[3]
    tracemalloc.start()
    found = duplicates.hash_pairs(hashes, max_bits=40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.to_numpy().tolist() == [[3, 700, 0], [3, 1999, 5], [700, 1999, 5]]
    assert peak < 12e6, "all pairs at once would take 130 MB"
    assert duplicates.hash_pairs(hashes[:0], max_bits=40).empty


@pytest.fixture
def photos(tmp_path):
    """Return five photos: 0 and 1 are alike, the rest differ; the last has no file."""
    pictures = [scene(0), (scene(0) * 0.9).astype(np.uint8), scene(2), scene(3)]
    rows = []
    for number, picture in enumerate(pictures):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), picture)
        rows.append((f"{number:05d}", str(path), "neutrophil" if number < 3 else "monocyte"))
    rows.append(("00004", str(tmp_path / "none.png"), "monocyte"))
    return pd.DataFrame(rows, columns=["photo", "path", "label"])


class TestNearDuplicates:
    def images(self, groups):
        cells = [f"{number:05d}" for number in range(4)]
        table = pd.DataFrame({"cell": cells, "group": groups, "split": ["train", "test"] * 2})
        return table.astype({"cell": "string", "group": "string"})

    def test_alike_photos_are_found_by_their_hash(self, photos):
        found = duplicates.near_duplicates(photos, self.images(["00000", "00001", "2", "3"]))
        assert found["photos"].tolist() == [["00000", "00001"]]
        assert found["splits"].tolist() == [("test", "train")]
        assert not found["overlap"].any()
        assert found["bits"].iloc[0] <= 40

    def test_shifted_photos_are_found_by_their_group(self, photos):
        found = duplicates.near_duplicates(photos, self.images(["0", "1", "2", "2"]))
        assert found["photos"].tolist() == [["00000", "00001"], ["00002", "00003"]]
        assert found["overlap"].tolist() == [False, True]
        assert np.isnan(found["bits"].iloc[1])
        assert found["labels"].iloc[1] == ("monocyte", "neutrophil")

    def test_both_ways_join_to_one_set(self, photos):
        found = duplicates.near_duplicates(photos, self.images(["0", "2", "2", "3"]))
        assert found["photos"].tolist() == [["00000", "00001", "00002"]]

    def test_without_photos_or_sources_there_is_nothing_to_find(self, photos):
        images = self.images([pd.NA] * 4).assign(cell=pd.NA)
        assert len(duplicates.near_duplicates(photos, images)) == 1
        assert duplicates.near_duplicates(photos.head(0), images).empty
