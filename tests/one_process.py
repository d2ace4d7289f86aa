"""The command line with its notebooks in this process: what they compute, without their kernels.

    python tests/one_process.py [--kernels STEP,STEP] run --profile smoke --run FOLDER

Twelve kernels import the same libraries twelve times, which is half of a small chain's time. What
a kernel does, `test_pipeline` asks with two notebooks of three lines; what ours compute, they
compute here, each in a namespace of its own. The steps named first have kernels all the same.
"""

import sys
from collections.abc import Mapping
from threading import Lock
from types import ModuleType

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from hv_utils import cli
from hv_utils.chain import execution
from hv_utils.chain.parameters import CHAIN_PARAMETER
from hv_utils.chain.steps import Step
from hv_utils.ground.runs import Run


class Main(ModuleType):
    """What multiprocessing takes for this program; a shell's reset takes the entry away."""

    __spec__ = None


ONE_AT_A_TIME, MAIN = Lock(), Main("__main__")
HAVE_KERNELS: list[str] = []
in_a_kernel = execution.run_notebook


def run_here(step: Step, run: Run, values: Mapping, **options) -> None:
    """Execute a notebook, as `execution.run_notebook` does in a kernel."""
    if step.name in HAVE_KERNELS:
        in_a_kernel(step, run, values, **options)
        return
    notebook = load_notebook_node(str(step.notebook))
    notebook = parameterize_notebook(notebook, {**values, CHAIN_PARAMETER: str(run.folder)})
    with ONE_AT_A_TIME:
        shell = InteractiveShell.instance(user_module=MAIN)
        shell.reset()
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for number, cell in enumerate(code, start=1):
            with capture_output() as shown:
                result = shell.run_cell(cell.source)
            if not result.success:
                print(f"{step.name}, cell {number}:\n{cell.source}", file=sys.stderr)
                result.raise_error()
            cell.execution_count = number
            cell.outputs = [
                new_output("display_data", one.data, metadata=one.metadata or {})
                for one in shown.outputs
            ]
    notebook.metadata["papermill"] = {"exception": None}
    target = run.path("notebooks") / step.notebook.name
    target.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target)


if __name__ == "__main__":
    if sys.argv[1] == "--kernels":
        HAVE_KERNELS += sys.argv[2].split(",")
        del sys.argv[1:3]
    execution.run_notebook = run_here
    sys.exit(cli.main())
