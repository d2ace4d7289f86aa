"""Pages to PDF, by a Chromium that is there: no package brings one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "chrome",
    "microsoft-edge",
    "msedge",
)
PLACES = (  # where it is installed without being on the path
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
)
SCRIPTS_MS = 20_000  # of the page's own clock: scripts that lay it out are done by then
TIMEOUT_S = 900  # a busy machine takes minutes for a book


def browser() -> str:
    """Return the program that prints.

    Raises
    ------
    HematoVisionError
        Where there is none.
    """
    installed = (place for place in PLACES if Path(place).is_file())
    if found := next(filter(None, [*map(shutil.which, BROWSERS), *installed]), None):
        return found
    raise HematoVisionError(
        "expected Chromium, Chrome or Edge, which print to PDF, but found none: install one, or "
        "open the page in any browser and print it there"
    )


def print_page(page: Path, pdf: Path, *, program: str, **query: str) -> Path:
    """Print a page to a PDF, on the paper that its styles ask for.

    Parameters
    ----------
    page : Path
        An HTML file.
    pdf : Path
        Is written whole or not at all.
    program : str
        See `browser`.
    **query : str
        Stands behind the page's address.

    Returns
    -------
    Path
        `pdf`.

    Raises
    ------
    HematoVisionError
        Where the browser fails.
    """
    address = page.absolute().as_uri() + (f"?{urlencode(query)}" if query else "")
    flags = [*FLAGS, f"--virtual-time-budget={SCRIPTS_MS}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to start for root otherwise
    pdf.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        with atomic_path(pdf.absolute()) as temporary:
            command = [program, *flags, f"--user-data-dir={profile}"]
            command += [f"--print-to-pdf={temporary}", address]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
                )
                said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            except subprocess.TimeoutExpired:
                said = [f"not done after {TIMEOUT_S} s"]
            if not temporary.is_file():
                raise HematoVisionError(
                    f"expected {Path(program).name} to print {page.name}, but it did not "
                    f"({said[0]}): open the page in a browser and print it there"
                )
    return pdf
