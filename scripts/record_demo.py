"""Record how long a demo run took, and how fast the probe of `hv doctor` is on the same machine.

The run must have gone through without a stop, on this machine, with nothing else at work.

Usage: python scripts/record_demo.py runs/demo results/demo.json
"""

import json
import sys
from datetime import datetime
from pathlib import Path

from hv_utils.chain.doctor import probe
from hv_utils.ground.files import dump_json, write_text
from hv_utils.ground.runs import Run


def main(run_dir: str, target: str) -> None:
    """Write the record of the run `run_dir`."""
    run = Run.open(run_dir)
    times = []
    for path in sorted(run.path("notebooks").glob("*.ipynb")):
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]
        times.append([datetime.fromisoformat(about[f"{end}_time"]) for end in ("start", "end")])
    manifest = run.manifest
    record = {
        "command": manifest["command"],
        "git_commit": manifest["git_commit"],
        "machine": manifest["machine"],
        "notebooks": len(times),
        "seconds": round((max(e for _, e in times) - min(s for s, _ in times)).total_seconds(), 1),
        "seconds_by_notebook": manifest["seconds"],
        "images_per_s": round(max(probe() for _ in range(4)), 1),
    }
    write_text(Path(target), dump_json(record))
    print(dump_json(record))


if __name__ == "__main__":
    main(*sys.argv[1:])
