"""`hv versus`: a page on which a reader names cells under time, as the model has named them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hv_utils import __version__
from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import cores, write_text
from hv_utils.images.labels import MORPHOLOGY
from hv_utils.images.reading import read_image
from hv_utils.serve.crops import jpeg
from hv_utils.serve.held_out import HeldOut
from hv_utils.serve.pages import check_name, fill

FORMAT, VERSION = "hematovision-versus", 1
SECONDS = 8.0
SIDE, QUALITY = 400, 88  # of a picture: its longest side in pixels, and of JPEG
KEY_DIGITS = 16


@dataclass(frozen=True)
class Versus:
    """A page, written or read again.

    Attributes
    ----------
    path : Path
    facts : dict
        What its script works on: `page` (its mark, by which answers are told from those to other
        pages), `classes`, `seconds`, `count`, `about`, and `key`, behind a curtain.
    truth, verdicts : list of str
        Of each cell.
    pictures : list of str
        JPEGs as base64.
    """

    path: Path
    facts: dict[str, Any]
    truth: list[str]
    verdicts: list[str]
    pictures: list[str]

    def text(self) -> str:
        """Return the report as printed."""
        counts = {name: self.truth.count(name) for name in self.facts["classes"]}
        return (
            f"you against the model: {len(self.truth)} cells "
            f"({', '.join(f'{n} {name}' for name, n in counts.items())}): {self.path} "
            f"({self.path.stat().st_size / 1e6:.1f} MB); open it in a browser"
        )


def write_versus(
    out: str | Path,
    held_out: HeldOut,
    *,
    count: int | None = None,
    shares: Mapping[str, float] | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
) -> Versus:
    """Write the page on which a reader names cells under time.

    Parameters
    ----------
    out : str or Path
        The page, ending in `.html`. It holds everything, pictures included, and needs no network.
    held_out : HeldOut
        Where the cells come from.
    count, shares, seed
        See `HeldOut.choose`.
    seconds : float
        For each cell, above 0.

    Returns
    -------
    Versus

    Raises
    ------
    HematoVisionError
        Where the cells cannot be had or the page cannot be written.
    """
    out = check_name(out)
    cells = held_out.choose(count, shares=shares, seed=seed)
    with ThreadPoolExecutor(cores()) as pool:
        pictures = list(pool.map(_picture, cells["path"]))
    truth, verdicts = cells["label"].tolist(), cells["predicted"].tolist()
    classes = sorted({*truth, *verdicts})
    told = [FORMAT, VERSION, seconds, classes, truth, verdicts, pictures]
    page = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:KEY_DIGITS]
    looks = {name: _look(name) for name in classes if name in MORPHOLOGY}
    key = {"truth": truth, "verdicts": verdicts, "looks": looks}
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "program": f"HematoVision {__version__}",
        "page": page,
        "classes": classes,
        "seconds": seconds,
        "count": len(cells),
        "about": held_out.about,
        "described": len(looks) == len(classes),
        "key": base64.b64encode(curtain(json.dumps(key).encode(), page)).decode(),
    }
    named = {f"cell-{number}": picture for number, picture in enumerate(pictures)}
    write_text(out, fill("versus", facts, named))
    return Versus(out, facts, truth, verdicts, pictures)


def _picture(path: str) -> str:
    """Return what the model was shown, without the file's name and metadata."""
    return jpeg(read_image(path), SIDE, QUALITY)


def _look(name: str) -> str:
    look = MORPHOLOGY[name]
    return f"Nucleus: {look.nucleus}. Cytoplasm: {look.cytoplasm}. Granules: {look.granules}."


def curtain(data: bytes, page: str) -> bytes:
    """Hide bytes from a glance at the source, or show them again.

    A curtain and no lock: the page itself has to draw it back. `versus.js` has the same.

    Parameters
    ----------
    data : bytes
    page : str
        The mark of the page, hexadecimal.

    Returns
    -------
    bytes
    """
    state, out = int(page[:8], 16), bytearray()
    for byte in data:
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(byte ^ (state >> 24))
    return bytes(out)


def read_versus(path: str | Path) -> Versus:
    """Read a page again that `write_versus` has written.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Versus

    Raises
    ------
    HematoVisionError
        Where there is no such page, or it is damaged or of a newer version.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
        newer = facts["format"] == FORMAT and facts["version"] > VERSION
        key = json.loads(curtain(base64.b64decode(facts["key"]), facts["page"]))
        truth, verdicts = key["truth"], key["verdicts"]
        pictures = re.findall(r'id="cell-\d+">([^<]*)</script>', text)
        whole = len(truth) == len(verdicts) == len(pictures) == facts["count"]
    except OSError as error:
        raise HematoVisionError(
            f"expected a page of hv versus, but {path} cannot be read ({error.strerror}): "
            "name the page that was handed out"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise HematoVisionError(_no_page(path)) from error
    if newer:
        raise HematoVisionError(
            f"expected a page that this version knows, but {path} was written by "
            f"{facts['program']}: use that version"
        )
    if facts["format"] != FORMAT or not whole:
        raise HematoVisionError(_no_page(path))
    return Versus(path, facts, truth, verdicts, pictures)


def _no_page(path: Path) -> str:
    return (
        f"expected a page of hv versus, but {path} is none, or only a part of one: "
        "name the page that was handed out"
    )
