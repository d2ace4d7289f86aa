"""The command line with its notebooks in this process: what they compute, without their kernels.

    python tests/one_process.py run --profile smoke --run FOLDER

Eleven kernels import the same libraries eleven times. One chain of the tests has them, as readers
have; where a test is about what notebooks do with other images, this does.
"""

import sys
from collections.abc import Mapping
from threading import Lock

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

ONE_AT_A_TIME = Lock()


def run_here(step: Step, run: Run, values: Mapping, **_) -> None:
    """Execute a notebook, as `execution.run_notebook` does in a kernel."""
    notebook = load_notebook_node(str(step.notebook))
    notebook = parameterize_notebook(notebook, {**values, CHAIN_PARAMETER: str(run.folder)})
    with ONE_AT_A_TIME:
        shell = InteractiveShell.instance()
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
    execution.run_notebook = run_here
    sys.exit(cli.main())
