"""What a cell looks like, in the words that haematologists use: heads on a model's features.

The attributes and their values are those of WBCAtt (Tsutsui, Pang and Wen, 2023). The heads know
the looks of five kinds of cell; of others they say nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.ground.files import atomic_path, dump_json, write_text

WORDS: dict[str, dict[str, str]] = {
    "nucleus_shape": {
        "unsegmented-band": "nucleus a band",
        "unsegmented-indented": "nucleus indented",
        "unsegmented-round": "nucleus round",
        "segmented-bilobed": "nucleus segmented, two lobes",
        "segmented-multilobed": "nucleus segmented, several lobes",
        "irregular": "nucleus irregular",
    },
    "granule_type": {
        "nil": "no granules",
        "small": "granules fine",
        "round": "granules round, even",
        "coarse": "granules coarse",
    },
    "granule_colour": {
        "nil": "no colour of granules",
        "pink": "granules pink",
        "purple": "granules purple",
        "red": "granules orange-red",
    },
    "granularity": {"no": "cytoplasm without granules", "yes": "cytoplasm granular"},
    "chromatin_density": {"densely": "chromatin dense", "loosely": "chromatin loose"},
    "nuclear_cytoplasmic_ratio": {"high": "nucleus fills the cell", "low": "cytoplasm wide"},
    "cytoplasm_vacuole": {"no": "no vacuoles", "yes": "vacuoles"},
    "cytoplasm_texture": {"clear": "cytoplasm clear", "frosted": "cytoplasm like ground glass"},
    "cytoplasm_colour": {
        "blue": "cytoplasm blue",
        "light blue": "cytoplasm pale",
        "purple blue": "cytoplasm violet-blue",
    },
    "cell_size": {"big": "large cell", "small": "small cell"},
    "cell_shape": {"round": "cell round", "irregular": "cell of irregular outline"},
}
"""The attributes and their values, in order, with the book's words for each value."""

SIZES = [len(values) for values in WORDS.values()]
STARTS = np.cumsum([0, *SIZES])
SILENT = ("granularity",)  # says what the type of the granules says
SHOWN = 3
LEAST = 0.6  # a value that is less likely is not told


@dataclass(frozen=True)
class Morphology:
    """Heads on the pooled features of a model.

    Attributes
    ----------
    kernel, bias : numpy.ndarray
        Shapes (1280, V) and (V,), V the values of all attributes.
    classes : tuple of str
        The kinds of cell whose looks were learnt.
    typical : numpy.ndarray
        Shape (C, V): how often a value was seen in each kind; rows sum to 1 within an attribute.
    margin : float
        A verdict is contradicted where another kind explains the looks better by this much (in
        the natural logarithm of the odds, averaged over the attributes).
    """

    kernel: np.ndarray
    bias: np.ndarray
    classes: tuple[str, ...]
    typical: np.ndarray
    margin: float

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return how likely each value is: (N, V), sums to 1 within an attribute.

        Parameters
        ----------
        features : numpy.ndarray, shape (N, 1280)
        """
        logits = np.asarray(features, float) @ self.kernel + self.bias
        parts = np.split(logits, STARTS[1:-1], axis=1)
        powers = [np.exp(part - part.max(axis=1, keepdims=True)) for part in parts]
        return np.hstack([part / part.sum(axis=1, keepdims=True) for part in powers])

    def support(self, probs: np.ndarray) -> np.ndarray:
        """Return how well each kind explains the looks: (N, C), mean log likelihood, at most 0."""
        agreed = probs[:, None] * self.typical
        each = np.add.reduceat(agreed, STARTS[:-1], axis=2)
        return np.log(np.clip(each, 1e-6, None)).mean(axis=2)

    def rival(self, probs: np.ndarray, predicted: Sequence[str]) -> list[str]:
        """Return the kind that explains the looks clearly better than the verdict, "" for none.

        Parameters
        ----------
        probs : numpy.ndarray, shape (N, V)
            From `probabilities`.
        predicted : sequence of str, length N
            Verdicts; of a kind whose looks were not learnt nothing is said.
        """
        support, rivals = self.support(probs), []
        for row, name in zip(support, predicted, strict=True):
            if name not in self.classes:
                rivals.append("")
                continue
            best = int(row.argmax())
            clear = row[best] - row[self.classes.index(name)] > self.margin
            rivals.append(self.classes[best] if clear else "")
        return rivals

    def why(self, features: np.ndarray, predicted: Sequence[str]) -> list[str]:
        """Say in words what each cell looks like, the most telling first.

        Parameters
        ----------
        features : numpy.ndarray, shape (N, 1280)
        predicted : sequence of str, length N
            Verdicts.

        Returns
        -------
        list of str
            "" for a kind whose looks were not learnt.
        """
        probs = self.probabilities(features)
        rivals = self.rival(probs, predicted)
        return [
            "; ".join(self._told(row, rival or name))
            + (f"; this speaks for {rival}" if rival else "")
            if name in self.classes
            else ""
            for row, name, rival in zip(probs, predicted, rivals, strict=True)
        ]

    def _told(self, probs: np.ndarray, kind: str) -> list[str]:
        """Name the likely values that set a kind apart from the others, with their percentage."""
        at = self.classes.index(kind)
        others = np.delete(self.typical, at, axis=0).max(axis=0)
        telling = np.log(self.typical[at] / others)
        found = []
        for (name, values), start in zip(WORDS.items(), STARTS[:-1], strict=True):
            best = start + int(probs[start : start + len(values)].argmax())
            if name not in SILENT and probs[best] >= LEAST:
                words = list(values.values())[best - start]
                found.append((telling[best], f"{words} ({100 * probs[best]:.0f} %)"))
        return [words for _, words in sorted(found, key=lambda one: -one[0])[:SHOWN]]


def morphology_path(model: str | Path) -> Path:
    """Return where the heads lie that go with an exported model."""
    return Path(f"{model}.morphology.npz")


def write_morphology(
    morphology: Morphology, model: str | Path, *, features_sha256: str, facts: Mapping
) -> None:
    """Write the heads beside their model, as half-precision numbers and JSON."""
    path = morphology_path(model)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            kernel=morphology.kernel.astype(np.float16),
            bias=morphology.bias.astype(np.float32),
            typical=morphology.typical.astype(np.float32),
        )
    about = {"classes": list(morphology.classes), "margin": morphology.margin}
    about |= {"values": {name: list(values) for name, values in WORDS.items()}, **facts}
    about |= {"features_of": features_sha256}
    about["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(path.with_suffix(".json"), dump_json(about))


def read_morphology(model: str | Path, *, features_sha256: str) -> Morphology:
    """Read the heads that go with a model.

    Parameters
    ----------
    model : str or Path
        The exported model beside which they lie.
    features_sha256 : str
        Checksum of the model whose features are judged.

    Raises
    ------
    HematoVisionError
        Where there are none, they are damaged, or they were fitted to another model's features.
    """
    path = morphology_path(model)
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        data = path.read_bytes()
        whole = hashlib.sha256(data).hexdigest() == about["sha256"]
        known = about["values"] == {name: list(values) for name, values in WORDS.items()}
        if not (whole and known):
            raise ValueError("another checksum" if known else "other attributes")
    except (OSError, ValueError, KeyError) as error:
        raise HematoVisionError(
            f"expected the words for a model's verdicts in {path}, but they cannot be read "
            f"({type(error).__name__}): leave out --why, or fetch the file again"
        ) from error
    if about["features_of"] != features_sha256:
        raise HematoVisionError(
            "expected --why with the shipped model, or one that hv adapt made of it, but this "
            "model has other features, for which there are no words: leave out --why"
        )
    with np.load(io.BytesIO(data)) as arrays:
        return Morphology(
            kernel=arrays["kernel"].astype(np.float32),
            bias=arrays["bias"],
            classes=tuple(about["classes"]),
            typical=arrays["typical"].astype(float),
            margin=float(about["margin"]),
        )
