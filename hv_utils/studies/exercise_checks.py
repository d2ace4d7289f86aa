"""Whether an exercise's answer is right, told without the answer.

What the run decides is computed anew from its files, and what does not hang on a run is kept as a
seal, from which nobody reads it back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.runs import Run

Check = Callable[..., None]
CHECKS: dict[tuple[str, int], Check] = {}
MALFORMED = (TypeError, ValueError, KeyError, IndexError, AttributeError)
ROUNDS = 100_000  # a fifth of a second a guess or less, and far too long for a list of guesses
HUNDREDTH = 0.0051


class NotYetError(Exception):
    """The answer is not right, and this is what may be said about it."""


@dataclass(frozen=True)
class Verdict:
    """What a check says; true where the answer is right.

    Attributes
    ----------
    right : bool
    words : str
        One line for the learner.
    """

    right: bool
    words: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.words


def check(page: str, number: int, run: Run | None = None, /, **answers: Any) -> Verdict:
    """Tell whether the answers to an exercise are right.

    Parameters
    ----------
    page : str
        Stem of the notebook, or `paper`.
    number : int
        Of the exercise on that page.
    run : Run, optional
        The run that the answers are about.
    answers : Any
        By the names of the stub; what is still `...` is open.

    Returns
    -------
    Verdict

    Raises
    ------
    HematoVisionError
        Where there is no such check, or the run lacks what it needs.
    """
    import hv_utils.studies.notebook_checks
    import hv_utils.studies.paper_checks  # noqa: F401 (both fill CHECKS)

    if (page, number) not in CHECKS:
        raise HematoVisionError(
            f"expected an exercise that has a check, but exercise {number} of {page} has none: "
            "leave the cell as the kit wrote it"
        )
    open_ones = [name for name, value in answers.items() if _is_open(value)]
    if open_ones:
        return Verdict(False, f"Exercise {number} is open: fill {', '.join(open_ones)}.")
    try:
        CHECKS[page, number](run, **answers)
    except NotYetError as reason:
        return Verdict(False, f"Exercise {number} is not right yet: {reason}.")
    except HematoVisionError:  # a ValueError too, and of the run, not of the answer
        raise
    except MALFORMED as error:
        reason = f"the answer has not the form that the stub asks for ({error})"
        return Verdict(False, f"Exercise {number} is not right yet: {reason}.")
    return Verdict(True, f"Exercise {number} is right.")


def _is_open(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_open(one) for one in value.values())
    return value is ... or (isinstance(value, list | tuple | set) and any(v is ... for v in value))


def checks(page: str, number: int) -> Callable[[Check], Check]:
    """Enter a function as the check of an exercise; it raises `NotYetError` or returns."""

    def enter(function: Check) -> Check:
        CHECKS[page, number] = function
        return function

    return enter


def need(holds: bool, reason: str) -> None:
    """Raise `NotYetError` with the reason unless a condition holds."""
    if not holds:
        raise NotYetError(reason)


def same(name: str, given: Any, expected: Any, *, within: float = HUNDREDTH) -> None:
    """Ask a number, or a mapping of numbers, to be what the run gives.

    Parameters
    ----------
    name : str
        The stub's.
    given, expected : float, or mapping to float
        A number that is not defined, NaN, equals another.
    within : float
        Largest difference.
    """
    if isinstance(expected, Mapping):
        need(isinstance(given, Mapping), f"{name} is to be a dict")
        need(
            set(given) == set(expected),
            f"{name} is to have one entry for each of {', '.join(map(str, expected))}",
        )
        for key, value in expected.items():
            same(f"{name}[{key!r}]", given[key], value, within=within)
        return
    close = np.isclose(float(given), float(expected), rtol=0, atol=within, equal_nan=True)
    need(bool(close), f"{name} is not what this run gives")


def seal(answer: Any) -> str:
    """Return a seal of an answer that is text, a number, or a list, set or dict of these.

    Numbers count by their hundredths, sets in any order, and text in any case.
    """
    text = json.dumps(_plain(answer), sort_keys=True)
    return hashlib.pbkdf2_hmac("sha256", text.encode(), b"hematovision", ROUNDS).hex()[:24]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(one) for one in value)
    if isinstance(value, str):
        return value.strip().lower()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return f"{float(value):.2f}"


def sealed(name: str, given: Any, expected: str) -> None:
    """Ask an answer to be the one that was sealed."""
    need(seal(given) == expected, f"{name} is not right")
