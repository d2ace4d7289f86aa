"""The exported classifier on ONNX Runtime: verdicts and heat maps without TensorFlow."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.inference.familiarity import FACT as DISTANCES
from hv_utils.inference.familiarity import Familiarity
from hv_utils.inference.morphology import Morphology
from hv_utils.inference.novelty import Novelty
from hv_utils.inference.presence import Presence
from hv_utils.inference.sets import COVERAGE, PredictionSets
from hv_utils.inference.sets import FACT as SETS

if TYPE_CHECKING:
    import onnxruntime

SHIPPED_MODEL = Path(__file__).parent.parent / "shipped" / "hematovision.onnx"
INPUT = "images"
OUTPUTS = ("logits", "feature_map")
OK, UNSURE, NOT_A_CELL, UNREADABLE = STATUSES = ("ok", "unsure", "not_a_cell", "unreadable")


@dataclass(frozen=True)
class Verdicts:
    """What a classifier says of N images.

    Attributes
    ----------
    pred_probs : numpy.ndarray
        Shape (N, K), rows sum to 1, columns in class order.
    statuses : sequence of str
        N of `ok`, `unsure`, `not_a_cell`.
    heat_maps : numpy.ndarray, optional
        Shape (N, h, w), float32, at least 0: Grad-CAM of each image's likeliest class.
    members : numpy.ndarray, optional
        Shape (N, K), bool: the classes that cannot be excluded, see `sets.PredictionSets`.
    whys : sequence of str, optional
        N descriptions in words, see `morphology.Morphology.why`.
    familiarity : numpy.ndarray, optional
        Shape (N,), above 0, at most 1, see `familiarity.Familiarity`.
    """

    pred_probs: np.ndarray
    statuses: Sequence[str]
    heat_maps: np.ndarray | None = None
    members: np.ndarray | None = None
    whys: Sequence[str] | None = None
    familiarity: np.ndarray | None = None


def facts_path(path: str | Path) -> Path:
    """Return the path of the JSON file that goes with an ONNX file."""
    return Path(f"{path}.json")


def arrays_path(path: str | Path) -> Path:
    """Return the path of the NPZ file that goes with an ONNX file."""
    return Path(f"{path}.npz")


@dataclass(frozen=True)
class OnnxClassifier:
    """A classifier exported by `export.export_model`; call it with images.

    Attributes
    ----------
    classes : tuple of str
        The K classes, in the order of the columns of `pred_probs`.
    size : tuple of int
        (height, width) of the images that it takes.
    temperature : float
        The logits are divided by it (Guo et al., 2017); 1 where none was fitted.
    unsure_below : float
        Images whose largest probability is lower are `unsure`; 0 where none was chosen.
    novelty : Novelty, optional
        Judges how far features lie from those of single white cells.
    presence : Presence, optional
        Judges whether there is a cell at all; without it what lies too far is none.
    sets : PredictionSets, optional
        Tells which classes cannot be excluded.
    familiarity : Familiarity, optional
        Tells how usual the distance is that `novelty` finds.
    head : list of (kernel, bias)
        Of the dense layers above the pooled features.
    meta : dict
        All facts that were written with the model.
    """

    session: onnxruntime.InferenceSession
    classes: tuple[str, ...]
    size: tuple[int, int]
    head: list[tuple[np.ndarray, np.ndarray]]
    temperature: float = 1.0
    unsure_below: float = 0.0
    novelty: Novelty | None = None
    presence: Presence | None = None
    sets: PredictionSets | None = None
    familiarity: Familiarity | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path, *, threads: int = 1) -> OnnxClassifier:
        """Load an ONNX file and its two companions after verifying their checksums.

        Parameters
        ----------
        path : str or Path
            The `.onnx` file; `<path>.json` and `<path>.npz` lie beside it.
        threads : int
            Threads of one call. One serves best where several calls run at once, as in
            `predict.predict_rows`: the cores then never wait for each other inside a layer.

        Returns
        -------
        OnnxClassifier

        Raises
        ------
        HematoVisionError
            Where a file is missing, damaged or exchanged.
        """
        path = Path(path)
        facts, data, arrays = read_verified(path)
        try:
            head = [
                (arrays[f"head_{index}_kernel"], arrays[f"head_{index}_bias"])
                for index in range(sum(name.endswith("_kernel") for name in arrays))
            ]
        except KeyError as error:
            raise HematoVisionError(
                f"expected the weights of the model's head in {arrays_path(path)}, but {error} is "
                "missing: export the model again"
            ) from error
        return cls(
            session=open_session(data, threads=threads, name=path),
            classes=tuple(facts["classes"]),
            size=tuple(facts["size"]),
            head=head,
            temperature=float(facts.get("temperature", 1.0)),
            unsure_below=float(facts.get("thresholds", {}).get("unsure_below", 0.0)),
            novelty=Novelty.from_arrays(arrays),
            presence=Presence.from_arrays(arrays),
            sets=PredictionSets.from_facts(facts.get(SETS), facts["classes"]),
            familiarity=Familiarity.from_facts(facts.get(DISTANCES), facts["classes"]),
            meta=facts,
        )

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the network.

        Parameters
        ----------
        images : numpy.ndarray
            Shape (N, *size, 3), dtype uint8, range 0 to 255.

        Returns
        -------
        logits : numpy.ndarray
            Shape (N, K), float32, before the temperature.
        feature_map : numpy.ndarray
            Shape (N, h, w, 1280), float32.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (*self.size, 3):
            raise HematoVisionError(
                f"expected uint8 images of shape (N, {self.size[0]}, {self.size[1]}, 3), but got "
                f"{images.dtype} of shape {images.shape}: resize them with images.resize"
            )
        logits, feature_map = self.session.run(list(OUTPUTS), {INPUT: images})
        return logits, feature_map

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities, float64 (N, K), of logits (N, K)."""
        cooled = np.asarray(logits, np.float64) / self.temperature
        powers = np.exp(cooled - cooled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def heat_maps(self, feature_map: np.ndarray, class_index: np.ndarray) -> np.ndarray:
        """Compute Grad-CAM (Selvaraju et al., 2017) from the feature map, without gradients.

        Between the feature map and a logit stand a mean and dense layers with ReLU, so the
        gradient is known in closed form: the kernels multiplied along the open ReLUs, equal at
        every position. The map equals that of `gradcam.grad_cam`.

        Parameters
        ----------
        feature_map : numpy.ndarray
            Shape (N, h, w, 1280).
        class_index : numpy.ndarray
            Shape (N,), int: the class to explain.

        Returns
        -------
        numpy.ndarray
            Shape (N, h, w), float32, at least 0, not normalised.
        """
        x, opened = feature_map.mean(axis=(1, 2)), []
        for kernel, bias in self.head[:-1]:
            x = x @ kernel + bias
            opened.append(x > 0)
            x = np.maximum(x, 0)
        gradient = self.head[-1][0].T[class_index]
        for (kernel, _), mask in zip(self.head[-2::-1], reversed(opened), strict=True):
            gradient = (gradient * mask) @ kernel.T
        weights = gradient / (feature_map.shape[1] * feature_map.shape[2])
        return np.maximum(np.einsum("nhwc,nc->nhw", feature_map, weights), 0).astype(np.float32)

    def __call__(
        self,
        images: np.ndarray,
        *,
        cam: bool = False,
        coverage: float = COVERAGE,
        morphology: Morphology | None = None,
        barred: np.ndarray | None = None,
    ) -> Verdicts:
        """Judge images.

        Parameters
        ----------
        images : numpy.ndarray
            Shape (N, *size, 3), uint8.
        cam : bool
            Whether to add heat maps.
        coverage : float
            Of the sets, where the model has what they need.
        morphology : Morphology, optional
            Adds what the cells look like, in words.
        barred : numpy.ndarray, optional
            Shape (N, K), bool: classes that an image cannot be of; their probability is 0.
        """
        logits, feature_map = self.run(images)
        if barred is not None:
            logits = np.where(barred, -np.inf, logits)
        pred_probs = self.probabilities(logits)
        unsure = pred_probs.max(axis=1) < self.unsure_below
        statuses = np.where(unsure, UNSURE, OK).astype(object)
        features, best = feature_map.mean(axis=(1, 2)), pred_probs.argmax(axis=1)
        if self.presence is not None:
            statuses[self.presence.is_absent(features)] = NOT_A_CELL
        elif self.novelty is not None:
            statuses[self.novelty.is_new(features)] = NOT_A_CELL
        familiarity = None
        if self.novelty is not None and self.familiarity is not None:
            familiarity = self.familiarity.p_values(self.novelty.score(features), best)
        names = [self.classes[k] for k in best]
        return Verdicts(
            pred_probs,
            list(statuses),
            heat_maps=self.heat_maps(feature_map, best) if cam else None,
            members=self.sets.sets(pred_probs, coverage=coverage) if self.sets else None,
            whys=morphology.why(features, names) if morphology else None,
            familiarity=familiarity,
        )


def read_verified(path: Path) -> tuple[dict, bytes, dict[str, np.ndarray]]:
    """Read the three files of an exported model after verifying their checksums.

    Returns
    -------
    facts : dict
    graph : bytes
        The ONNX file.
    arrays : dict of str to numpy.ndarray
        float32.

    Raises
    ------
    HematoVisionError
        Where a file is missing, damaged or exchanged.
    """
    if not path.is_file():
        raise HematoVisionError(
            f"expected an exported model, but nothing is at {path}: "
            "make one with `hv run`, or name another with --model"
        )
    try:
        facts = json.loads(facts_path(path).read_text(encoding="utf-8"))
        expected = facts["sha256"]["onnx"], facts["sha256"]["npz"]
        if not facts["classes"] or len(facts["size"]) != 2:
            raise ValueError("no classes or no size")
        contents = path.read_bytes(), arrays_path(path).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HematoVisionError(
            f"expected {path.name}.json and {path.name}.npz beside {path}, but they cannot be read "
            f"({type(error).__name__}): keep the three files of a model together"
        ) from error
    for file, data, checksum in zip((path, arrays_path(path)), contents, expected, strict=True):
        found = hashlib.sha256(data).hexdigest()
        if found != checksum:
            raise HematoVisionError(
                f"expected {file} with SHA-256 {checksum[:12]}…, but it has {found[:12]}…: "
                "the file is damaged or belongs to another model; export or fetch it again"
            )
    with np.load(io.BytesIO(contents[1])) as arrays:
        return facts, contents[0], {name: arrays[name].astype(np.float32) for name in arrays.files}


def open_session(
    graph: bytes, *, threads: int = 1, name: str | Path = "the graph"
) -> onnxruntime.InferenceSession:
    """Make a graph ready to run on the CPU.

    Parameters
    ----------
    graph : bytes
        The contents of an ONNX file.
    threads : int
        Threads of one call.
    name : str or Path
        Of the graph, for the error.

    Raises
    ------
    HematoVisionError
        Where it is no graph that ONNX Runtime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes, derived from Exception
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise HematoVisionError(
            f"expected an ONNX model, but {name} cannot be loaded ({reason}): export it again"
        ) from error
