"""Search folders for solutions: all that their files say, held against every solution."""

import base64
import json
import re

from hv_utils.classroom.exercises import pages_with_exercises, parts_of, read_exercises

EXERCISES = [one for page in pages_with_exercises() for one in read_exercises(page)]
LINE = 24  # characters: shorter lines stand in any code
PICTURES = (".png", ".jpeg", ".jpg")


def squeezed(text: str) -> str:
    return re.sub(r"[\s\\]+", "", text)


def solution_texts(exercise) -> set[str]:
    """Return the lines of code and the sentences of a solution and its mistakes, without spaces."""
    lines = [line for mistake in exercise.mistakes for line in mistake.splitlines()]
    for kind, text in parts_of(exercise.solution):
        lines += text.splitlines() if kind == "code" else re.split(r"(?<=[.?!])\s", text)
    return {squeezed(line) for line in lines if len(line.strip()) >= LINE}


def everything(folder, pattern: str = "*") -> str:
    """Return all that a folder's files say: sources, metadata, outputs, attachments, decoded."""
    found = []
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and path.suffix not in PICTURES:
            text = path.read_bytes().decode("utf-8", "replace")  # pickles, too
            found.append(text)
            if path.suffix == ".ipynb":
                found += strings(json.loads(text))
    return squeezed("\n".join(found))


def strings(value) -> list[str]:
    """Return every text in a JSON value, joined where it is a list of lines, and decoded."""
    if isinstance(value, dict):
        return [text for one in (*value, *value.values()) for text in strings(one)]
    if isinstance(value, list):
        lines = [one for one in value if isinstance(one, str)]
        return ["".join(lines), *(text for one in value for text in strings(one))]
    if not isinstance(value, str):
        return []
    try:
        return [value, base64.b64decode(value, validate=True).decode("latin-1")]
    except ValueError:
        return [value]


def leaks(folder, shown: str) -> set[str]:
    """Return what a folder tells of solutions beyond what the notebooks of the project show."""
    text = everything(folder)
    every = set().union(*(solution_texts(one) for one in EXERCISES))
    return {line for line in every if line in text and line not in shown}


def what_is_no_secret(project) -> str:
    """Return what the committed notebooks and the tasks say."""
    paper = (project / "book" / "exercises" / "paper.md").read_text(encoding="utf-8")
    stubs = "\n".join(one.stub + one.check for one in EXERCISES)
    return everything(project / "notebooks", "*.ipynb") + squeezed(paper + stubs)
