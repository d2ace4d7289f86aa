"""What the book is built from: its pages, with a run's notebooks and figures in their places."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from hv_utils.chain.parameters import PATHS
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import dump_json, files_below, renewed_json
from hv_utils.ground.runs import PROJECT_ROOT, Run

FIGURE = re.compile(r"\bfigures/([\w.-]+\.(?:png|svg))")
# Where a figure stands on a page: as the picture of a card, which its text follows, or by itself.
SHAPES = (
    r"(?m)^:img-top: figures/{}\n(?:.*img-.*\n)*(?P<options>(?::.*\n)*\n?)",
    r"(?P<options>)!\[[^\]]*\]\(figures/{}\)",
)
LACKING = (
    "*No picture here: `{maker}` draws {figure}, and the images of this run lack what it is drawn "
    "from.*\n\n"
)
NOT_DIAGNOSIS = "For teaching only. Nothing here is for diagnosis."
SOLUTION_LINK = re.compile(r"\[[^\]\n]*\]\(\.\./book/solutions/\w+\.md\)")
HOME = re.compile(  # of whoever executed a notebook; pictures in base64 hold no such path
    r"""(?<![\w+/])(?:/home/[^/\s"']+|/Users/[^/\s"']+|/root|[A-Z]:\\+Users\\+[^\\\s"']+)(?=[/\\])"""
)
RUN_FILE = "book/run.json"
ARTEFACTS = ("images.csv", "photos.csv", "predictions.csv", "predictions-val.csv", "metrics.json")


def stage(run: Run | Path | str, out: Path, *, project: Path = PROJECT_ROOT) -> Path:
    """Fill the folder that the book is built from.

    A teacher's book without solutions is one whose table of contents does not name them: the
    links to them are then left out of the notebooks.

    Files that have not changed keep their time stamps, so that the next build is a short one, and
    files that no longer belong are removed.

    Parameters
    ----------
    run : Run or Path or str
        A finished run: `notebooks/*.ipynb` and `figures/*` are taken from it.
    out : Path
        The staging folder.
    project : Path
        Folder that holds `_config.yml`, `_toc.yml`, `book/` and `hv_utils/`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    HematoVisionError
        Where a notebook of the table of contents has not been run or has failed, or where a page
        shows a figure that no notebook makes.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    files = {name: (project / name).read_bytes() for name in ("_config.yml", "_toc.yml")}
    for path in files_below(project / "book"):
        files[path.relative_to(project).as_posix()] = path.read_bytes()
    documents, numbers = toc_files(project / "_toc.yml"), notebook_numbers(project / "_toc.yml")
    for name in notebook_names(project / "_toc.yml"):
        text = clean_notebook(run, name, number=numbers.get(name, ""), project=project)
        if f"book/solutions/{name}" not in documents:
            text = SOLUTION_LINK.sub("", text)
        files[f"notebooks/{name}.ipynb"] = text.encode()
    figures = run.path("figures")
    for path in files_below(figures) if figures.is_dir() else ():
        files[f"book/figures/{path.name}"] = path.read_bytes()
    for page in [name for name in files if name.startswith("book/") and name.endswith(".md")]:
        text = with_figures(page, files[page].decode(), files=files, run=run, project=project)
        files[page] = text.encode()
    files[RUN_FILE] = _about(run)
    for name, text in api_pages(project / "hv_utils").items():
        files[f"book/api/{name}"] = text.encode()
    _sync(files, Path(out))
    return Path(out)


def _about(run: Run) -> bytes:
    """Say where the run is, and what its artefacts are: pages with pieces are made from both."""
    there = [name for name in ARTEFACTS if run.path(name).is_file()]
    artefacts = {n: hashlib.sha256(run.path(n).read_bytes()).hexdigest() for n in there}
    return dump_json({"folder": str(run.folder), "artefacts": artefacts}).encode()


def _sync(files: Mapping[str, bytes], out: Path) -> None:
    """Make `out` hold exactly `files`, touching none that is as it should be."""
    for name, content in files.items():
        path = out / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in list(out.rglob("*")):
        if path.is_file() and path.relative_to(out).as_posix() not in files:
            path.unlink()


def toc_files(toc: Path) -> list[str]:
    """Return the documents of a table of contents in reading order, without their endings."""
    import yaml

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key in ("root", "file", "glob"):
                if key in node:
                    yield node[key]
            for key in ("parts", "chapters", "sections"):
                yield from walk(node.get(key, []))
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(yaml.safe_load(toc.read_text(encoding="utf-8"))))


def notebook_names(toc: Path) -> list[str]:
    """Return the stems of the notebooks in a table of contents, such as `03_model`."""
    names = (name for name in toc_files(toc) if name.startswith("notebooks/"))
    return [name.removeprefix("notebooks/") for name in names]


def notebook_numbers(toc: Path) -> dict[str, str]:
    """Return the numbers of the notebooks below numbered chapters, such as 7.2 for `07_leak`."""
    import yaml

    parts = yaml.safe_load(toc.read_text(encoding="utf-8")).get("parts", [])
    return {
        section["file"].removeprefix("notebooks/"): f"{chapter}.{number}"
        for part in parts
        if part.get("numbered")
        for chapter, about in enumerate(part["chapters"], start=1)
        for number, section in enumerate(about.get("sections", []), start=1)
    }


def clean_notebook(run: Run, name: str, *, number: str = "", project: Path = PROJECT_ROOT) -> str:
    """Return an executed notebook as the book shows it: without traces of the machine.

    Parameters
    ----------
    run : Run
        The run that executed it.
    name : str
        Stem of the notebook.
    number : str
        Stands before its title, where given.
    project : Path
        Paths below this folder become relative ones.

    Returns
    -------
    str
        JSON.

    Raises
    ------
    HematoVisionError
        Where the notebook is missing, was not executed to its end, or failed.
    """
    path = run.need(f"notebooks/{name}.ipynb", made_by=name)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except (json.JSONDecodeError, KeyError) as error:
        raise HematoVisionError(
            f"expected an executed notebook, but {path} cannot be read: "
            f"run it again with `hv run --from {name}`"
        ) from error
    failed = any(o["output_type"] == "error" for cell in cells for o in cell["outputs"])
    if failed or any(cell["execution_count"] is None for cell in cells if cell["source"]):
        raise HematoVisionError(
            f"expected notebook {name} to have run to its end, but {path} holds "
            f"{'an error' if failed else 'cells that were not run'}: "
            "mend the cause and run `hv run` again, which resumes there"
        )
    if number:
        title = "".join(notebook["cells"][0]["source"])
        notebook["cells"][0]["source"] = re.sub(r"\A# ", f"# {number} ", title)
    made = notebook["metadata"].get("papermill", {})
    for part in (notebook, *notebook["cells"]):
        part["metadata"].pop("papermill", None)  # time stamps and absolute paths
        part["metadata"].pop("execution", None)
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    return without_places(text, made, run, project)


def without_places(text: str, made: Mapping[str, Any], run: Run, project: Path) -> str:
    """Return the JSON of a notebook without the paths of this machine.

    Parameters
    ----------
    text : str
    made : mapping
        What papermill wrote into the notebook; may be empty.
    run : Run
    project : Path
    """
    for place, shown in _places(made, run, project):
        # as it is, as Python writes it in a string, and as some programs do on Windows
        for form in (place.replace("\\", "\\\\"), place, place.replace("\\", "/")):
            text = text.replace(json.dumps(form, ensure_ascii=False)[1:-1], shown)
    return HOME.sub("~", text)


def _places(made: Mapping[str, Any], run: Run, project: Path) -> list[tuple[str, str]]:
    """Return the paths of this machine and of the one that executed a notebook, the longest first.

    Parameters
    ----------
    made : mapping
        What papermill wrote into the notebook.

    Returns
    -------
    list of (str, str)
        A path, and what the book shows in its place.
    """
    values = renewed_json(run.path("params.json")).get("parameters", {})
    places = [(run.folder, f"runs/{run.name}"), (project, "")]
    places += [(_pure(made.get("output_path")).parent.parent, f"runs/{run.name}")]
    places += [(_pure(made.get("input_path")).parent.parent, "")]
    places += [(path, path.name) for path in (_pure(values.get(name)) for name in PATHS)]
    known = {
        str(path) if shown else str(path / "x")[:-1]: shown  # nothing is left of "<project>/"
        for path, shown in places
        if path.is_absolute() and len(path.parts) > 2  # "/" and "/data" would be found in words
    }
    return sorted(known.items(), key=lambda item: -len(item[0]))


def _pure(path: str | None) -> PurePath:
    return PureWindowsPath(path) if "\\" in (path or "") else PurePosixPath(path or "")


def with_figures(
    page: str, text: str, *, files: Mapping[str, bytes], run: Run, project: Path
) -> str:
    """Return a page that shows no figure that the run has not, and says so where it would be.

    Parameters
    ----------
    page : str
        Its name, for the error.
    text : str
        MyST.
    files : mapping
        Holds `book/figures/NAME` for each figure of the run.
    run : Run
    project : Path
        Folder that holds `notebooks/`.

    Raises
    ------
    HematoVisionError
        Where no notebook makes a figure that the page shows.
    """
    for figure in sorted(set(FIGURE.findall(text))):
        if f"book/figures/{figure}" in files:
            continue
        sources = sorted((project / "notebooks").glob("*.ipynb"))
        maker = next((n.stem for n in sources if figure in n.read_text(encoding="utf-8")), None)
        instead = LACKING.format(figure=figure, maker=maker)
        for shape in SHAPES:
            text = re.sub(shape.format(re.escape(figure)), rf"\g<options>{instead}", text)
        if maker is None or f"figures/{figure}" in text:
            raise HematoVisionError(
                f"expected figures/{figure} in {run.folder}, which {page} shows, but the run made "
                "none: run the chain again with `hv run`, or mend the page"
            )
    return text


def api_pages(package: Path) -> dict[str, str]:
    """Return the pages of the API reference, one for each room of the package.

    They are made from the package itself, so that no module can be forgotten.

    Parameters
    ----------
    package : Path
        Folder of the package `hv_utils`.

    Returns
    -------
    dict of str to str
        File name to MyST text; `modules.md` is the table that the index page includes.
    """
    pages, rows = {}, []
    for door in sorted(package.glob("*/__init__.py")):
        room = f"{package.name}.{door.parent.name}"
        about = ast.get_docstring(ast.parse(door.read_text("utf-8"))) or ""
        modules = [p.stem for p in sorted(door.parent.glob("*.py")) if p.stem[0] != "_"]
        parts = [f"# {room}", about]
        for name in (f"{room}.{module}" for module in modules):
            parts.append(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```")
        pages[f"{room}.md"] = "\n\n".join(parts) + "\n"
        summary = " ".join(about.split("\n\n")[0].split())
        rows.append(f"| [{room}]({room}.md) | {summary} | {', '.join(modules)} |")
    head = ["| room | is for | holds |", "| --- | --- | --- |"]
    pages["modules.md"] = "\n".join([*head, *rows]) + "\n"
    return pages
