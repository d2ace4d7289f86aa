"""The kernel of a notebook: in this Python, and on Linux forked from one that has imported all."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any, ClassVar
from weakref import WeakSet

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

START_S = 300  # for a kernel to answer, on a machine that has other things to do
FEW = 4  # notebooks, with which the server's start does not pay
FORKS = sys.platform == "linux"  # elsewhere the libraries' threads do not outlive a fork
# What this process and most notebooks have imported: 5 to 8 s a kernel, if each did it for itself.
IMPORTED = [__name__, "ipykernel.kernelapp", "matplotlib.pyplot", "seaborn", "pandas"]
IMPORTED += ["sklearn.linear_model", "sklearn.metrics", "scipy.stats", "cv2", "tensorflow", "keras"]


class OwnKernel(AsyncKernelManager):
    """A kernel in the Python of this process, whatever is installed under the name python3."""

    started: ClassVar[WeakSet[OwnKernel]] = WeakSet()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.started.add(self)

    @property
    def kernel_spec(self) -> KernelSpec:
        """What starts it."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


class ForkedKernel(OwnKernel):
    """The same, forked from a server that has imported what most notebooks need."""

    async def _async_pre_start_kernel(self, **options: Any) -> tuple[list[str], dict[str, Any]]:
        if self.provisioner is None:
            self.provisioner = _Forked(kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**options)

    pre_start_kernel = _async_pre_start_kernel


def kernel_for(notebooks: int) -> type[OwnKernel]:
    """Return the class of kernels for so many notebooks: a few do not repay the server's start."""
    return ForkedKernel if FORKS and notebooks > FEW else OwnKernel


def kill_kernels() -> None:
    """End the kernels that run; what waits for one of them then gets an error."""
    for kernel in list(OwnKernel.started):
        process = getattr(kernel.provisioner, "process", None)
        if process is not None:
            process.kill()


class _Forked(LocalProvisioner):
    """Starts kernels as children of multiprocessing's server, which ends with this process."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(IMPORTED)
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        process = server.Process(
            target=_become_kernel, args=(arguments, options["cwd"], options["env"])
        )
        process.start()
        self.process = _AsPopen(process)
        self.pid = self.pgid = process.pid
        return self.connection_info


class _AsPopen:
    """A process of multiprocessing with the names that subprocess gives to the same things."""

    stdin = stdout = stderr = None

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self.process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()

    def terminate(self) -> None:
        self.process.terminate()


def _become_kernel(arguments: Sequence[str], folder: str, env: Mapping[str, str]) -> None:
    os.setsid()  # a Ctrl-C in the terminal is for the command, which ends its kernels
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    Thread(target=_end_with_the_command, daemon=True).start()
    from ipykernel.kernelapp import IPKernelApp

    # Matplotlib, imported before there was a kernel, does not see it by itself.
    IPKernelApp.launch_instance(argv=[*arguments, "--matplotlib=inline"])


def _end_with_the_command() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
