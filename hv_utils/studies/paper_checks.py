"""The checks of the exercises on paper: drawn sheets are drawn again, the rest is sealed."""

from __future__ import annotations

from typing import Any

from hv_utils.ground.runs import Run
from hv_utils.studies.exercise_checks import checks, need, same, sealed

READING = 1.01  # per cent: limits may be read off the table or worked out
RED_APART, PLATELETS_APART = 2, 1  # what two careful people differ by


@checks("paper", 1)
def _names(run: Run | None, names: list) -> None:
    from hv_utils.drawn.paper import naming_sheet

    key = naming_sheet().key["class"]
    need(len(names) == len(key), f"names is to hold {len(key)} names")
    right = sum(str(name).strip().lower() == told for name, told in zip(names, key, strict=True))
    need(right == len(key), f"{right} of {len(key)} names are right")


@checks("paper", 2)
def _counts(run: Run | None, red: int, platelets: int) -> None:
    from hv_utils.drawn.paper import counting_field

    key = counting_field().key.set_index("kind")["count"]
    same("red", red, key["red"], within=RED_APART)
    same("platelets", platelets, key["platelets"], within=PLATELETS_APART)


@checks("paper", 3)
def _f1(run: Run | None, f1: dict, macro_f1: float) -> None:
    sealed("f1", f1, "a58cf886ae3f9f6df3e44677")
    sealed("macro_f1", macro_f1, "0aa2ab2641b34348ab7172fe")


@checks("paper", 4)
def _limits(run: Run | None, monday: Any, thursday: Any, can_be_one: bool, n_cells: int) -> None:
    from hv_utils.scores.differential import exact_limits

    for name, given, count in (("monday", monday, 5), ("thursday", thursday, 10)):
        limits = exact_limits(count, 100)
        for end, value, limit in zip(("lower", "upper"), given, limits, strict=True):
            same(f"the {end} limit of {name}", value, 100 * limit, within=READING)
    sealed("can_be_one", float(bool(can_be_one)), "72b6f8b3f786f09d02521def")
    sealed("n_cells", n_cells, "089c8489149a4bb4843af5f5")


@checks("paper", 5)
def _objections(run: Run | None, holds: set) -> None:
    need(isinstance(holds, set | list | tuple | str), "holds is to be a set of letters")
    sealed("holds", set(holds), "d3c0fd9ecc15b994ef33bee3")


@checks("paper", 6)
def _called(run: Run | None, called: float, share: float) -> None:
    sealed("called", called, "a85564e24064479e89a0cb1c")
    sealed("share", share, "c12b7541565f2e5e055d722a")


@checks("paper", 7)
def _agreement(run: Run | None, agree: float, kappa: float) -> None:
    sealed("agree", agree, "f49c47556807a7d15631ba70")
    sealed("kappa", kappa, "03fc62e3a9acd4299cbd28d2")
