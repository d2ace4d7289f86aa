"""Parts made by the workers of a Dask scheduler: the same table, whoever is killed meanwhile."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_onnx_model import write_model

from dask_cluster import Cluster, wait_for
from hv_utils.ground import workers as hands
from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.labelling import label_images
from hv_utils.inference.part_folder import label_into_parts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dask")]
pytest.importorskip("distributed")
pytest.importorskip("pyarrow")
N_IMAGES = 24
SLOWLY = """
from hv_utils.inference import parts
judge = parts.judge_part
def slowly(*arguments):
    time.sleep(0.3)
    return judge(*arguments)
parts.judge_part = slowly
"""
OTHER_VERSION = "hv_utils.__version__ = '0.0.9'"


@pytest.fixture
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("dask"), more=SLOWLY)
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_model(tmp_path / "m.onnx")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(N_IMAGES):
        pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:02}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label(cluster, out="out", *, part_size=2):
    return label_into_parts(
        ["images"],
        out=out,
        model="m.onnx",
        part_size=part_size,
        scheduler=cluster.address,
        complain=lambda line: None,
    )


def when_parts_come(act):
    """Do something once the first part is there."""

    def watch():
        wait_for(lambda: any(Path("out").glob("part-*")))
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_worker_is_killed_and_the_table_is_the_same(folder, cluster):
    cluster.add()
    cluster.add()
    thread = when_parts_come(cluster.workers[0].kill)
    report = label(cluster)
    thread.join()
    assert cluster.workers[0].wait() != 0
    label_images(["images"], csv="t.csv", model="m.onnx", complain=lambda line: None)
    pd.testing.assert_frame_equal(pd.read_parquet("out"), pd.read_csv("t.csv"), check_dtype=False)
    assert report.images == N_IMAGES


def test_all_are_killed_and_the_same_command_goes_on(folder, cluster, monkeypatch):
    monkeypatch.setattr(hands, "WORKERS_S", 2.0)
    cluster.add()
    when_parts_come(cluster.workers[0].kill)
    wait_for_worker(cluster)
    with pytest.raises(HematoVisionError, match="for 2 s there was none: start some with"):
        label(cluster)
    kept = {path: path.stat().st_mtime_ns for path in Path("out").glob("part-*")}
    assert 0 < len(kept) < N_IMAGES / 2
    cluster.add()
    wait_for_worker(cluster)
    assert label(cluster).images == N_IMAGES
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in Path("out").glob("part-*")}.items()


def wait_for_worker(cluster):
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        wait_for(client.nthreads)


def test_the_scheduler_dies(folder, cluster):
    cluster.add()
    wait_for_worker(cluster)
    when_parts_come(cluster.scheduler.kill)
    with pytest.raises(HematoVisionError, match="to stay, but it is gone") as refusal:
        label(cluster)
    assert "\n" not in str(refusal.value)


def test_a_worker_of_another_version_is_refused(folder, cluster):
    cluster.add(more=OTHER_VERSION)
    with pytest.raises(HematoVisionError, match=r"with hematovision .* runs 0.0.9: install"):
        label(cluster)
    assert not list(Path("out").glob("part-*"))


def test_nobody_comes(folder, cluster, monkeypatch):
    monkeypatch.setattr(hands, "WORKERS_S", 1.0)
    with pytest.raises(HematoVisionError, match="for 1 s there was none"):
        label(cluster)
