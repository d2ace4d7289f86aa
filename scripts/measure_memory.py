"""Time and peak memory of heavy work with freed memory kept, and as the C library has it.

    python scripts/measure_memory.py [--turns 2] [--json results/memory.json]

Each piece of work runs in processes of its own, in turn; `hv_utils.ground.memory` stands back where
the environment speaks of the allocator, so the other side is the default spelt out. Linux alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import environment

DEFAULT = {"MALLOC_ARENA_MAX": str(8 * (os.cpu_count() or 1))}
SIZE = (240, 320)


def train(_: Path) -> Callable[[], object]:
    """Prepare six steps of training all blocks on batches of 32."""
    import numpy as np

    from hv_utils.network.course import compile_model
    from hv_utils.network.model import build_model

    model = build_model(4, size=SIZE, weights="none")
    compile_model(model, 1e-3)
    images = np.random.default_rng(0).integers(0, 256, (32, *SIZE, 3)).astype(np.float32)
    labels = np.arange(32) % 4
    model.train_on_batch(images, labels)  # traced and warm
    return lambda: [model.train_on_batch(images, labels) for _ in range(6)]


def features(folder: Path) -> Callable[[], object]:
    """Prepare the features of all images of a small demo."""
    from hv_utils.network.model import build_model, extract_features

    model, paths = build_model(4, size=SIZE, weights="none"), sorted(folder.rglob("_*.jpeg"))
    return lambda: extract_features(model, paths)


def recover(folder: Path) -> Callable[[], object]:
    """Prepare the search for the source photos of a small demo's copies."""
    from hv_utils.data.recovery import recover_sources

    return lambda: recover_sources(folder)


WORK = {work.__name__: work for work in (train, features, recover)}


def measure_here(name: str, folder: Path) -> None:
    """Do one piece of work and print its seconds and the process's largest memory, MB."""
    import resource

    from hv_utils.ground.memory import keep_freed_memory

    keep_freed_memory()
    work = WORK[name](folder)
    started = perf_counter()
    work()
    seconds = perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def main() -> None:
    """Measure, print a table, write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from hv_utils.drawn.demo import make_demo

    found: dict[str, dict] = {name: {"kept": [], "default": []} for name in WORK}
    with tempfile.TemporaryDirectory() as folder:
        make_demo(Path(folder) / "demo", copies_train=40, copies_test=20)
        for name, sides in [(n, s) for _ in range(options.turns) for n, s in found.items()]:
            for side, extra in (("kept", {}), ("default", DEFAULT)):
                command = [sys.executable, __file__, "--here", name, f"{folder}/demo"]
                done = subprocess.run(
                    command, env={**os.environ, **extra}, stdout=-1, text=True, check=True
                )
                sides[side].append(json.loads(done.stdout.splitlines()[-1]))
    result = {}
    for name, sides in found.items():
        best = {s: {k: median(r[k] for r in rows) for k in rows[0]} for s, rows in sides.items()}
        ratio = best["kept"]["seconds"] / best["default"]["seconds"]
        result[name] = {**best, "ratio": ratio}
        print(f"{name:10} {ratio:.2f} of the time", best)
    if options.json:
        about = {"turns": options.turns, "machine": environment()["machine"]}
        write_text(options.json, dump_json({**about, "work": result}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        measure_here(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
