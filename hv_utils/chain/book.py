"""The book: a staging folder that takes a run's notebooks and figures, built by Jupyter Book.

The sources of the book hold no numbers. `stage` puts the executed notebooks of a run in the place
of the sources, so that every number in the prose comes from that run; `build` turns the staging
folder into HTML with warnings as errors, and swaps the finished book in whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from hv_utils.chain.book_stage import stage, toc_files
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores, files_below, renewed_json, write_text
from hv_utils.ground.runs import PROJECT_ROOT, Run
from hv_utils.serve.runtime import PACKAGES, fetch_runtime, kept_files

__all__ = ["OUTPUT", "build", "fingerprint", "main", "stage"]

OUTPUT = PROJECT_ROOT / "_build"
SHOWN_WARNINGS = 8
CLASSIFIES = "book/classify"  # the page that needs a runtime
# Of the package: docstrings, the page that classifies, the checksums of the shipped models.
READ = (".py", ".js", ".css", ".html", ".txt", ".json")
ENGINE = ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb", "latex2mathml")


def build(
    run: Run | Path | str,
    *,
    output: Path | str = "_build",
    force: bool = False,
    project: Path = PROJECT_ROOT,
    echo: Callable[[str], None] = print,
) -> Path:
    """Build the book from a finished run, unless nothing that it is made of has changed.

    Parameters
    ----------
    run : Run or Path or str
        The run whose notebooks and figures the book shows.
    output : Path or str
        Folder of the build; a relative one is taken from `project`. The book is in `html` below
        it, and the former one stays readable until the new one is complete.
    force : bool
        Build every page afresh, whether anything has changed or not.
    project : Path
        Folder that holds the sources of the book.
    echo : callable
        Takes the line of a book that is up to date, and why a page of it lacks its runtime.

    Returns
    -------
    Path
        The book's first page, `<output>/html/index.html`.

    Raises
    ------
    HematoVisionError
        Where the run is not finished, or Jupyter Book warns or fails; names the first warnings
        and the log.
    """
    from filelock import FileLock

    output = Path(project) / output
    work, stamp, html = output / "work", output / "work" / "stamp.json", output / "html"
    output.mkdir(parents=True, exist_ok=True)
    with FileLock(output / ".lock"):
        folder = stage(run, output / "stage", project=project)
        if CLASSIFIES in toc_files(folder / "_toc.yml") and (lacking := fetch_runtime()):
            echo(f"the page that classifies tells how to get what it lacks: {lacking}")
        now = fingerprint(folder, project)
        before = renewed_json(stamp)
        if now == before and (html / "index.html").exists() and not force:
            echo("the book: up to date")
            return html / "index.html"
        if force or now["engine"] != before.get("engine"):
            shutil.rmtree(work, ignore_errors=True)
        stamp.unlink(missing_ok=True)
        _run_jupyter_book(folder, work, log=output / "book.log", project=project)
        _swap(work / "_build" / "html", html, project=project)
        write_text(stamp, json.dumps(now))
    return html / "index.html"


def fingerprint(folder: Path, project: Path = PROJECT_ROOT) -> dict[str, str]:
    """Return what the finished book depends on, as two hashes.

    Parameters
    ----------
    folder : Path
        The staging folder.
    project : Path
        Folder of the package, whose docstrings, shipped model and scripts the book shows.

    Returns
    -------
    dict
        `content`: the pages and the package; `engine`: what makes every page anew when it
        changes, the settings, the book's extension and the versions of the programs.
    """
    content, engine = hashlib.sha256(), hashlib.sha256()
    engine.update(" ".join(metadata.version(name) for name in ENGINE).encode())
    package = sorted(p for p in (project / "hv_utils").rglob("*") if p.suffix in READ)
    content.update("".join(one.name for one in PACKAGES if kept_files(one)).encode())
    for path in [*files_below(folder), *package]:
        name = str(path.relative_to(folder if path.is_relative_to(folder) else project))
        settings = name == "_config.yml" or name.startswith(str(Path("book/_ext")))
        (engine if settings else content).update(name.encode() + b"\0" + path.read_bytes())
    return {"content": content.hexdigest(), "engine": engine.hexdigest()}


# Sphinx reads and writes pages side by side, but Jupyter Book's command has no option for it. They
# are dealt out beforehand: in small shares, or one core waits for another that has the long pages.
SHARES = 3
ON_ALL_CORES = f"""
from functools import partial
import jupyter_book.sphinx as engine
engine.build_sphinx = partial(engine.build_sphinx, jobs={SHARES * cores()})
from jupyter_book.cli.main import main
main()
"""


def _run_jupyter_book(folder: Path, work: Path, *, log: Path, project: Path) -> None:
    """Run Jupyter Book, quiet unless it fails."""
    command = [sys.executable, "-c", ON_ALL_CORES, "build", str(folder), "--path-output", str(work)]
    command += ["-W", "-n", "--keep-going"]
    paths = [str(project), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1"}
    work.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=project,
            check=False,
        )
    if done.returncode:
        # An incremental build would not repeat the warnings of unchanged pages, and so pass.
        shutil.rmtree(work, ignore_errors=True)
        raise HematoVisionError(_failure(log, folder))


def _failure(log: Path, folder: Path) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    text = text.replace(f"{folder}{os.sep}", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line):
            found.append(f"{line} {after}" if line.endswith(":") else line)
    found = list(dict.fromkeys(found)) or lines[-3:]
    more = len(found) - SHOWN_WARNINGS
    shown = found[:SHOWN_WARNINGS] + ([f"and {more} more"] if more > 0 else [])
    block = "\n".join(f"  {line}" for line in shown)
    return (
        f"expected the book to build without a warning, but Jupyter Book gave:\n{block}\n"
        f"  mend these pages and build again; the whole log is {log}"
    )


def _swap(new: Path, html: Path, *, project: Path) -> None:
    """Put a copy of the finished book in the place of the former one, whole."""
    fresh, former = html.with_name("html.new"), html.with_name("html.old")
    for leftover in (fresh, former):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(new, fresh)
    root = toc_files(project / "_toc.yml")[0]
    (fresh / "index.html").write_text(_lifted(fresh / f"{root}.html", fresh), encoding="utf-8")
    if html.exists():
        html.rename(former)
    fresh.rename(html)
    shutil.rmtree(former, ignore_errors=True)


def _lifted(page: Path, html: Path) -> str:
    """Return a page for the top folder, where Jupyter Book would only put a redirection."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    folder = page.parent.relative_to(html).as_posix()
    for name in ("href", "src"):
        for tag in soup.find_all(attrs={name: re.compile(r"^(?![a-z]+:|#|/)")}):
            path, mark, anchor = tag[name].partition("#")
            tag[name] = posixpath.normpath(posixpath.join(folder, path)) + mark + anchor
    soup.html["data-content_root"] = "./"
    return str(soup)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a built book: `python -m hv_utils.chain.book _build/html` lists its faults.

    Parameters
    ----------
    arguments : sequence of str, optional
        The folder of the book; by default those of the command line.

    Returns
    -------
    int
        0 where the book has no fault, 1 otherwise.
    """
    from hv_utils.chain.book_check import check_links

    arguments = sys.argv[1:] if arguments is None else arguments
    faults = check_links(arguments[0] if arguments else OUTPUT / "html")
    print("\n".join(faults) or "the book: all links, pictures and pages are sound")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
