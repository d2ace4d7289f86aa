"""The parameters of a run: declared by the notebooks, set by a profile and by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import matches
from hv_utils.ground.runs import PROJECT_ROOT
from hv_utils.network.weights import START_WEIGHTS

PROFILES = PROJECT_ROOT / "notebooks" / "profiles"
INPUTS = ("archive", "folder", "images")  # many or large files, known by size and time of change
FILES = ("groups", "source_map", "weights", "probe_weights")  # known by their content
PATHS = (*INPUTS, *FILES)
DECLARATION = re.compile(
    r"(?P<name>\w+)\s*(:\s*(?P<type>\w+)\s*)?=\s*(?P<default>.*?)\s*(#\s*(?P<help>.*))?"
)
CHAIN_PARAMETER = "run_dir"  # set by the chain itself
TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}


def profile_names() -> list[str]:
    """Return the names of the profiles beside the notebooks."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def read_profile(name: str) -> dict[str, Any]:
    """Return the parameters that a profile sets; paths in it are relative to the project's root.

    Raises
    ------
    HematoVisionError
        Where there is no such profile, or it is no mapping.
    """
    path = PROFILES / f"{name}.yaml"
    if not path.exists():
        raise HematoVisionError(
            f"expected a profile that is one of {', '.join(profile_names())}, but it is {name!r}: "
            f"choose one of them or write {path}"
        )
    values = _yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    if not isinstance(values, dict):
        raise HematoVisionError(
            f"expected lines `parameter: value` in {path}, but it holds a {type(values).__name__}: "
            "mend the file"
        )
    return absolute_paths(values, PROJECT_ROOT)


class _Loader(yaml.SafeLoader):
    """YAML with numbers as everyone writes them: 1e-3 is one, 010 is ten, 1:30 is none."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 (PyYAML's own name)


for _tag, _pattern, _first in (
    ("null", "~|null|", ["~", "n", ""]),
    ("bool", "(?i:true|false|yes|no|on|off)", "tTfFyYnNoO"),
    ("int", "[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.inf", "-+.0123456789"),
):
    _name = f"tag:yaml.org,2002:{_tag}"
    _Loader.add_implicit_resolver(_name, re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", "") or error).split())
        raise HematoVisionError(
            f"expected a YAML value, but {where} holds none ({reason}): put it in quotes, or mend "
            "its brackets"
        ) from error


def absolute_paths(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Make the paths among some parameters absolute: the notebooks run in another folder.

    Parameters
    ----------
    values : mapping
        Parameter name to value.
    base : Path
        What a relative path or pattern is relative to. Where nothing is there, the value stays as
        it is.
    """

    def absolute(name: str, value: Any) -> Any:
        if name not in PATHS or not isinstance(value, str) or value in ("", *START_WEIGHTS):
            return value
        paths = [base / Path(one).expanduser() if one else None for one in paths_in(value, base)]
        if not all(path is None or matches(path) for path in paths):
            return value
        return ",".join("" if path is None else str(path.absolute()) for path in paths)

    return {name: absolute(name, value) for name, value in values.items()}


def paths_in(value: str, base: Path = Path()) -> list[str]:
    """Return the paths that a value names: several are joined by commas, as their sources are."""
    whole = matches(base / Path(value).expanduser())
    return [value] if whole else value.split(",")


def declared(notebook: Path) -> dict[str, dict[str, str]]:
    """Return what a notebook declares in its cell tagged `parameters`, one name a line.

    Papermill's own `inspect_notebook` says the same, but importing it takes seconds, and a command
    that finds all steps up to date needs no more of it.

    Returns
    -------
    dict
        For each name: `inferred_type_name`, `default` (as written) and `help`.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    lines = "".join(tagged[0]["source"]).splitlines() if tagged else []
    found = filter(None, map(DECLARATION.fullmatch, lines))
    return {
        match["name"]: {
            "inferred_type_name": match["type"] or "None",
            "default": match["default"],
            "help": match["help"] or "",
        }
        for match in found
    }


def from_command_line(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Read `-p key value` pairs, each value as it is written: `validate` knows of what type it is.

    Paths are relative to where the command is given.
    """
    return absolute_paths(dict(pairs), Path.cwd())


def validate(values: Mapping[str, Any], notebooks: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """Give each notebook the values it declares, and refuse everything else.

    Parameters
    ----------
    values : mapping
        Parameter name to value; text is read as the type that is declared.
    notebooks : iterable of Path
        The notebooks of the chain.

    Returns
    -------
    dict
        Notebook to its own parameters, cast to the declared types.

    Raises
    ------
    HematoVisionError
        For a name that no notebook declares, or a value of another type.
    """
    declarations = {notebook: declared(notebook) for notebook in notebooks}
    known = {name for names in declarations.values() for name in names} - {CHAIN_PARAMETER}
    for name in values:
        if name not in known:
            raise HematoVisionError(
                f"expected a parameter that some notebook declares, but none declares {name!r}: "
                f"the parameters are {', '.join(sorted(known))}"
            )
    return {
        notebook: {
            name: _cast(name, values[name], declaration["inferred_type_name"])
            for name, declaration in names.items()
            if name in values
        }
        for notebook, names in declarations.items()
    }


def _cast(name: str, value: Any, type_name: str) -> Any:
    kind = TYPES.get(type_name)
    if kind not in (str, None) and isinstance(value, str):
        value = _yaml(value, f"-p {name} {value}")
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and type(value) in (int, float):
        return str(value)
    if kind is not None and type(value) is not kind:
        raise HematoVisionError(
            f"expected parameter {name} to be of type {type_name}, but {value!r} is of type "
            f"{type(value).__name__}: check the profile, or the value behind -p {name}"
        )
    return value
