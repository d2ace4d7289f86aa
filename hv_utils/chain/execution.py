"""One notebook carried out: in a kernel of this Python, and what went wrong in one line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import papermill
from papermill.exceptions import PapermillExecutionError

from hv_utils.chain.kernel import START_S, OwnKernel
from hv_utils.chain.parameters import CHAIN_PARAMETER
from hv_utils.chain.steps import Step
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.progress import NamedLines
from hv_utils.ground.runs import Run

RESUMES = "what was finished is kept, and the same command resumes here"


def run_notebook(
    step: Step,
    run: Run,
    values: Mapping[str, Any],
    *,
    kernel: type[OwnKernel] = OwnKernel,
    on_cell: Callable[[int, int], None] = lambda number, total: None,
    echo: Callable[[str], None] = print,
) -> None:
    """Execute one notebook into the run folder.

    Parameters
    ----------
    step : Step
    run : Run
    values : mapping
        The notebook's parameters.
    kernel : type
        Of the kernel manager.
    on_cell : callable
        Called before each cell with its number, from 0, and the number of cells.
    echo : callable
        Takes the lines that the notebook prints, each behind the name of the step.

    Raises
    ------
    HematoVisionError
        Where a cell fails, the kernel dies or a file cannot be written: names the notebook, the
        cell and the error. The partial notebook and the traceback stay in the run folder.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the kernels inherit it
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    executed = run.path("notebooks") / step.notebook.name
    cells, at = len(json.loads(step.notebook.read_text(encoding="utf-8"))["cells"]), {"cell": -1}

    def on_cell_start(cell: Any, cell_index: int) -> None:
        at["cell"] = cell_index
        on_cell(cell_index, cells)

    try:
        executed.parent.mkdir(parents=True, exist_ok=True)
        traceback_file(run, step).unlink(missing_ok=True)
        papermill.execute_notebook(
            str(step.notebook),
            str(executed),
            parameters={**values, CHAIN_PARAMETER: str(run.folder)},
            # The kernel's folder: papermill's own option changes that of this process.
            resources={"metadata": {"path": str(step.notebook.parent)}},
            progress_bar=False,
            stdout_file=NamedLines(step.name, echo),
            start_timeout=START_S,
            kernel_manager_class=kernel,
            on_cell_start=on_cell_start,
            # The kernel's start has nothing to tell, and its end would tell of an interrupt.
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        with suppress(OSError):  # a full disk may be the cause
            traceback_file(run, step).write_text(plain, encoding="utf-8")
        reason = str(error.evalue).strip().splitlines() or [""]
        raise HematoVisionError(
            f"notebook {step.name}, cell {error.cell_index + 1} failed with {error.ename}: "
            f"{reason[0]} (the partial notebook is {executed}; mend the cause, "
            "and the same command resumes here)"
        ) from error
    except BrokenPipeError:  # whoever read this command's output
        raise
    except OSError as error:
        raise HematoVisionError(
            f"expected room and permission to write while notebook {step.name} runs, but "
            f"{error.filename or executed} refuses it ({error.strerror or error}): make room or "
            f"mend the permissions; {RESUMES}"
        ) from error
    except RuntimeError as error:  # nbclient's, of a kernel that is gone or never came
        where = f"in cell {at['cell'] + 1}" if at["cell"] >= 0 else "before its start"
        raise HematoVisionError(
            f"expected notebook {step.name} to run to its end, but its kernel died {where} "
            f"({str(error).strip() or 'killed'}), probably for want of memory: close other "
            f"programs or take fewer or smaller images; {RESUMES}"
        ) from error


def traceback_file(run: Run, step: Step) -> Path:
    """Return where the traceback of a failed step is kept, beside its partial notebook."""
    return run.path("notebooks") / f"{step.name}.traceback.txt"
