"""Libraries that not everybody needs: loaded where they are asked for, and named where missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from hv_utils.ground.errors import HematoVisionError


def load(module: str, *, extra: str, wanted_for: str) -> ModuleType:
    """Import a library of one of the extras in pyproject.toml.

    Parameters
    ----------
    module : str
        Such as `pyarrow.parquet`.
    extra : str
        The extra that brings it.
    wanted_for : str
        What the user asked for, for the error.

    Raises
    ------
    HematoVisionError
        Where it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise HematoVisionError(
            f"expected {module.partition('.')[0]} to be installed for {wanted_for}, but it is not "
            f"({error}): pip install '.[{extra}]' in the project's folder"
        ) from error
