"""Forked kernels: alike those that start anew, apart from each other, gone with their parent."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import papermill
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from hv_utils.chain import kernel

pytestmark = pytest.mark.skipif(not kernel.FORKS, reason="kernels are forked on Linux alone")
FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
PLACE = "import os, sys\nprint(os.getcwd())\nprint('tensorflow' in sys.modules)"


@pytest.fixture(scope="module", autouse=True)
def small_server():
    """One library is enough to see that they are imported before."""
    with pytest.MonkeyPatch.context() as patch:
        light = [name for name in kernel.IMPORTED if name not in ("tensorflow", "keras")]
        patch.setattr(kernel, "IMPORTED", light)
        yield


@pytest.fixture
def outputs(tmp_path):
    """Carry out cells in a forked kernel and return the outputs of each."""

    def run(*cells, kind=kernel.ForkedKernel):
        about = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        cells = [new_code_cell(text) for text in cells]
        nbformat.write(new_notebook(cells=cells, metadata=about), tmp_path / "in.ipynb")
        made = papermill.execute_notebook(
            str(tmp_path / "in.ipynb"),
            None,
            progress_bar=False,
            kernel_manager_class=kind,
            resources={"metadata": {"path": str(tmp_path)}},
            extra_arguments=["--log-level=CRITICAL"],
        )
        return [cell.outputs for cell in made.cells]

    return run


def test_it_shows_figures_and_lines_as_any_kernel_does(outputs, tmp_path):
    forked = outputs(FIGURE, PLACE, "1 + 1")
    plain = outputs(FIGURE, PLACE, "1 + 1", kind=kernel.OwnKernel)
    kinds = [[one["output_type"] for one in cell] for cell in forked]
    assert kinds == [[one["output_type"] for one in cell] for cell in plain]
    assert forked[0][0]["data"]["image/png"] == plain[0][0]["data"]["image/png"]
    assert forked[1][0]["text"].splitlines()[0] == str(tmp_path)
    assert forked[2][0]["data"]["text/plain"] == "2"


def test_the_server_has_imported_and_no_kernel_leaves_a_trace(outputs):
    shown = "import sys\nprint('pandas' in sys.modules)\nimport pandas\n"
    first = outputs(shown + "print(hasattr(pandas, 'mark'))\npandas.mark = 1")
    again = outputs(shown + "print(hasattr(pandas, 'mark'))")
    assert first[0][0]["text"].split() == again[0][0]["text"].split() == ["True", "False"]


def test_one_that_is_killed_is_told_like_any(outputs):
    with pytest.raises(RuntimeError, match=r"(?i)kernel died"):
        outputs("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")


def test_it_ends_with_the_process_that_began_it(tmp_path):
    program = f"""
import asyncio, time
from hv_utils.chain import kernel
kernel.IMPORTED = [kernel.__name__, "ipykernel.kernelapp"]
async def main():
    one = kernel.ForkedKernel()
    await one.start_kernel(cwd={str(tmp_path)!r}, extra_arguments=["--log-level=CRITICAL"])
    print(one.provisioner.pid, flush=True)
    time.sleep(600)
asyncio.run(main())
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        child = psutil.Process(pid)
        time.sleep(1)
        os.kill(parent.pid, signal.SIGKILL)
    assert not psutil.wait_procs([child], timeout=15)[1]


def test_few_notebooks_do_not_start_a_server():
    assert kernel.kernel_for(kernel.FEW) is kernel.OwnKernel
    assert kernel.kernel_for(kernel.FEW + 1) is kernel.ForkedKernel
