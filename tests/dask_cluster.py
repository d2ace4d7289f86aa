"""A Dask scheduler with workers for tests, each a process that can be killed."""

import json
import os
import subprocess
import sys
import time

from conftest import ROOT

SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = """
import sys, time
import hv_utils
{more}
from distributed.cli.dask_worker import main
main()
"""


class Cluster:
    """A scheduler and workers, each a process that can be killed."""

    def __init__(self, folder, *, more=""):
        self.folder, self.workers, self._all, self._more = folder, [], [], more
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        file = folder / "scheduler.json"
        self.scheduler = self._start(SCHEDULER, *options, "--scheduler-file", str(file))
        wait_for(file.exists)
        wait_for(lambda: b'"address"' in file.read_bytes())
        self.address = json.loads(file.read_text())["address"]

    def _start(self, script, *options):
        # Elsewhere than the client, who may name images by relative paths.
        process = subprocess.Popen(
            [sys.executable, "-c", script, *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._all.append(process)
        return process

    def add(self, *, more=""):
        options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        folder = self.folder / f"worker-{len(self._all)}"
        folder.mkdir()
        script = WORKER.format(more=self._more + more)
        at = ("--local-directory", str(folder))
        self.workers.append(self._start(script, self.address, *options, *at))

    def close(self):
        for process in self._all:
            process.kill()
            process.wait()


def wait_for(happens, *, at_most=60):
    until = time.monotonic() + at_most
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.05)
