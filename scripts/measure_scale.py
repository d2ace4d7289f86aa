"""Images a second against processes and Dask workers, what a part costs, and a million on paper.

    python scripts/measure_scale.py [--turns 3] [--price 0.05] [--json results/scale.json]

Drawn pictures of 320x240 pixels are judged by the travelling model, as `hv predict --out` does, in
two numbers: their difference gives the speed without the start. The ways run in turn. Memory is
that of a process which lists a thousand, then a million names and counts their parts. What many
would cost follows from the processor time of one, which other work on the machine hardly changes;
the price of a core hour is assumed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import cv2
import numpy as np

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.files import cores, dump_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.images.labels import CLASSES
from hv_utils.images.reading import COPY_SIZE, resize
from hv_utils.inference.labelling import label_images
from hv_utils.inference.part_folder import label_into_parts

DRAWN, FEW, MANY, PART = 40, 100, 500, 25
SMALL_PARTS = 2  # images each, to see what a part costs
MANY_CORES, ON_PAPER = 64, (10**6, 10**8)
SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = "from distributed.cli.dask_worker import main; main()"
LIST = """
import resource, sys, tempfile
from pathlib import Path
from hv_utils.images import catalogue
from hv_utils.inference import part_folder
from hv_utils.inference.reports import Report
count = int(sys.argv[1])
files = (Path(f"/cells/{n % 1000:03}/{n:08}.png") for n in range(count))
catalogue.images_named = lambda given, others, ordered: files
with tempfile.TemporaryDirectory() as folder:
    report = Report(("a", "b"))
    part = {"images": 500, "counts": {"ok": 500}, "predicted": {"a": 500}}
    part["familiarity"] = {"strange": 0, "cells": 500}
    with part_folder._listed(["/cells"], Path(folder)) as images:
        for task in part_folder._tasks(images, {"part_size": 500}):
            report.take(part)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def draw(folder: Path) -> None:
    """Draw some pictures, and name each of them several times."""
    rng = np.random.default_rng(0)
    for number in range(DRAWN):
        photo = draw_photo(CLASSES[number % len(CLASSES)], rng=rng)
        image = resize(photo.image, COPY_SIZE)
        first = folder / f"{number:04}.jpeg"
        cv2.imwrite(str(first), image[:, :, ::-1])
        for again in range(number + DRAWN, MANY, DRAWN):
            os.link(first, folder / f"{again:04}.jpeg")


def seconds(work: Callable[[Path], object]) -> float:
    """Return how long `work` takes with a new folder."""
    with TemporaryDirectory() as out:
        start = perf_counter()
        work(Path(out))
        return perf_counter() - start


def processor_s() -> float:
    """Return the processor time of all processes that this one has started and seen end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parts(images: list[Path], part_size: int = PART, **options: object) -> float:
    """Return the seconds of `hv predict --out`."""
    options |= {"part_size": part_size, "complain": lambda line: None}
    return seconds(lambda out: label_into_parts(images, out=out, **options))


def csv(images: list[Path]) -> float:
    """Return the seconds of `hv predict --csv`, whose threads share one process."""
    quiet = {"complain": lambda line: None}
    return seconds(lambda out: label_images(images, csv=out / "table.csv", **quiet))


class Cluster:
    """A scheduler and workers of one thread on this machine."""

    def __init__(self, folder: Path, workers: int) -> None:
        file = folder / f"scheduler-{workers}.json"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        python = [sys.executable, "-c"]
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        options += ["--scheduler-file", str(file)]
        self._all = [subprocess.Popen([*python, SCHEDULER, *options], **quiet)]
        while not file.exists() or not file.stat().st_size:
            sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        for _ in range(workers):
            self._all.append(subprocess.Popen([*python, WORKER, self.address, *options], **quiet))
        self._wait(workers)

    def _wait(self, workers: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)

    def close(self) -> None:
        """End them."""
        for process in self._all:
            process.kill()
            process.wait()


def peak_mb(count: int) -> int:
    """Return the peak memory of a process that lists and counts so many images, in MB."""
    command = [sys.executable, "-c", LIST, str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def summary(runs: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Return images a second without the start, the start, and a part's cost, of each way."""
    found = {}
    for way, taken in runs.items():
        few, many = median(taken["few"]), median(taken["many"])
        each = (many - few) / (MANY - FEW)
        found[way] = {"images_per_s": 1 / each, "start_s": few - FEW * each}
        if taken["small"]:
            more = FEW / SMALL_PARTS - FEW / PART
            found[way]["ms_per_part"] = 1000 * (median(taken["small"]) - few) / more
    return found


def on_paper(core_s: float, price: float) -> list[dict[str, float]]:
    """Return core hours, cost and hours on many cores, if they scaled without loss."""
    return [
        {
            "images": count,
            "core_hours": (hours := count * core_s / 3600),
            "cost": hours * price,
            f"hours_on_{MANY_CORES}_cores": hours / MANY_CORES,
        }
        for count in ON_PAPER
    ]


def main() -> None:
    """Measure all ways in turn, print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--price", type=float, default=0.05, help="of a core hour, assumed")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    runs: dict = defaultdict(lambda: defaultdict(list))
    processor: list[float] = []
    counts = sorted({1, cores()})
    load = os.getloadavg()
    with TemporaryDirectory() as text:
        folder = Path(text) / "images"
        folder.mkdir()
        draw(folder)
        images = sorted(folder.iterdir())
        clusters = {count: Cluster(Path(text), count) for count in counts}
        ways = {f"{n} processes": {"processes": n} for n in counts}
        ways |= {f"{n} Dask workers": {"scheduler": c.address} for n, c in clusters.items()}
        try:
            for turn in range(asked.turns):
                for way, options in ways.items():
                    used = [processor_s()]
                    for name, some in (("few", images[:FEW]), ("many", images)):
                        runs[way][name].append(parts(some, **options))
                        used.append(processor_s())
                    if "processes" in options:
                        processor.append(used[2] - 2 * used[1] + used[0])
                    if way.startswith("1 "):
                        small = parts(images[:FEW], part_size=SMALL_PARTS, **options)
                        runs[way]["small"].append(small)
                runs["threads of --csv"]["few"].append(csv(images[:FEW]))
                runs["threads of --csv"]["many"].append(csv(images))
                print(f"turn {turn + 1} of {asked.turns}", flush=True)
        finally:
            for cluster in clusters.values():
                cluster.close()
    found = summary(runs)
    core_s = median(processor) / (MANY - FEW)
    names = ("pyarrow", "fsspec", "dask", "distributed", "onnxruntime")
    report = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": environment(),
        "packages": {name: version(name) for name in names},
        "cores": cores(),
        "images": {"drawn": DRAWN, "few": FEW, "many": MANY, "size": COPY_SIZE, "part": PART},
        "ways": found,
        "seconds": runs,
        "peak_mb": {f"{count:,} images": peak_mb(count) for count in (1_000, 1_000_000)},
        "load_before": load,
        "core_s_per_image": core_s,
        "price_per_core_hour": asked.price,
        "on_paper": on_paper(core_s, asked.price),
    }
    print(
        dump_json({key: report[key] for key in ("ways", "core_s_per_image", "peak_mb", "on_paper")})
    )
    if asked.json:
        write_text(asked.json, dump_json(report))


if __name__ == "__main__":
    main()
