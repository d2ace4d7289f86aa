"""Maps of what a verdict rests on: Grad-CAM, LIME, SHAP, and two controls that know nothing of it.

All explain the same number, the logit of one class. LIME (Ribeiro et al., KDD 2016) fits a line to
what the network says while regions are hidden at random; SHAP (Lundberg and Lee, NeurIPS 2017)
shares the verdict out fairly among the regions. Both with their own libraries, the extra `explain`.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np

from hv_utils.ground.errors import HematoVisionError
from hv_utils.network.judges import Judges
from hv_utils.studies.gradcam_scores import random_map
from hv_utils.studies.regions import SMEAR, SUPERPIXELS, Regions, need_extra, painted

GRADCAM = "Grad-CAM"
RANDOM, OUTLINE = CONTROLS = ("random", "cell outline")
LIME, SHAP = "LIME", "SHAP"
METHODS = (
    *(GRADCAM, f"{LIME}, {SMEAR}", f"{LIME}, {SUPERPIXELS}"),
    *(f"{SHAP}, {SMEAR}", f"{SHAP}, {SUPERPIXELS}", *CONTROLS),
)


@dataclass(frozen=True)
class Attribution:
    """The maps of one method for one image and one class.

    Attributes
    ----------
    maps : dict of str to numpy.ndarray, shape (h, w), float32
        By the name of the judge; what speaks for the class is above 0, what speaks against it
        below.
    regions : Regions, optional
        Of which each holds one value, where the method knows no finer place.
    seconds : float
        That the method alone took, all judges together.
    """

    maps: dict[str, np.ndarray]
    regions: Regions | None
    seconds: float


class Asked:
    """Judges that never judge the same image twice.

    Attributes
    ----------
    computed, spent : int, float
        Images that were judged, and the seconds that they took.
    """

    def __init__(self, judges: Judges) -> None:
        self.judges = judges
        self.computed, self.spent = 0, 0.0
        self._known: dict[bytes, np.ndarray] = {}  # of all judges
        self._known_first: dict[bytes, np.ndarray] = {}
        self._asked: set[bytes] = set()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images, float32 (N, J, K)."""
        return self._once(images, self.judges, self._known)

    def first(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of the trained network alone, float32 (N, K)."""
        return self._once(images, self.judges.first, self._known_first)

    def _once(
        self,
        images: np.ndarray,
        judge: Callable[[np.ndarray], np.ndarray],
        known: dict[bytes, np.ndarray],
    ) -> np.ndarray:
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        new = {key: at for at, key in enumerate(keys) if key not in known}
        if new:
            started = time.perf_counter()
            logits = judge(np.ascontiguousarray(np.asarray(images)[list(new.values())]))
            self.spent += time.perf_counter() - started
            self.computed += len(new)
            known.update(zip(new, logits, strict=True))
        self._asked.update(keys)
        return np.stack([known[key] for key in keys])

    def timed(self, work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
        """Return what `work` gives, and its seconds as if no image had been judged before."""
        self._asked, before, started = set(), self.spent, time.perf_counter()
        found = work()
        own = time.perf_counter() - started - (self.spent - before)
        return found, own + len(self._asked) * self.spent / max(self.computed, 1)


def lime_weights(
    score: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    regions: Regions,
    fill: np.ndarray,
    *,
    n_samples: int,
    seed: int = 0,
) -> np.ndarray:
    """Explain with LIME.

    Parameters
    ----------
    score : callable
        Takes images (N, H, W, 3), uint8, and returns J numbers for each, shape (N, J).
    image, fill : numpy.ndarray, shape (H, W, 3), uint8
        The fill is one colour.
    regions : Regions
    n_samples : int
        Images with regions hidden at random.
    seed : int

    Returns
    -------
    numpy.ndarray, shape (J, R), float64
        The line's slopes.

    Raises
    ------
    HematoVisionError
        Where the library is missing.
    """
    need_extra()
    with _no_bars():
        from lime import lime_image

    def said(images: list[np.ndarray]) -> np.ndarray:
        return score(np.stack(images))

    n_judges = said([image]).shape[1]
    explainer = lime_image.LimeImageExplainer(random_state=seed)
    with patch.object(lime_image, "tqdm", iter):  # its progress bar cannot be switched off
        found = explainer.explain_instance(
            image,
            said,
            labels=range(n_judges),
            top_labels=None,
            hide_color=fill[0, 0],
            num_samples=n_samples,
            batch_size=n_samples,
            segmentation_fn=lambda _: regions.labels,
        )
    return np.array([[slope for _, slope in sorted(found.local_exp[j])] for j in range(n_judges)])


def shap_weights(
    score: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    regions: Regions,
    fill: np.ndarray,
    *,
    n_samples: int,
    seed: int = 0,
) -> np.ndarray:
    """Explain with SHAP: exactly where `n_samples` is enough for every set of regions.

    Parameters
    ----------
    score, image, regions, fill, n_samples, seed
        As for `lime_weights`. R regions have 2**R - 2 sets but for none and all of them.

    Returns
    -------
    numpy.ndarray, shape (J, R), float64
        Their sum is what the image scores more than the fill alone.

    Raises
    ------
    HematoVisionError
        Where the library is missing, or the images do not determine the shares.
    """
    need_extra()
    n_regions = len(regions.names)
    too_few = HematoVisionError(
        f"expected images enough to share a verdict among {n_regions} regions, "
        f"but got {n_samples}, which leave the shares open: take three times as many as regions"
    )
    if n_samples < min(n_regions + 1, 2**n_regions - 2):
        raise too_few
    with _no_bars():
        import shap

    def said(shown: np.ndarray) -> np.ndarray:
        return score(painted(image, fill, (shown < 0.5)[:, regions.labels]))

    with _numpy_seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Linear regression equation is singular")
        explainer = shap.KernelExplainer(said, np.zeros((1, n_regions)))
        try:
            found = explainer.shap_values(
                np.ones((1, n_regions)), nsamples=n_samples, l1_reg=False, silent=True
            )
        except UserWarning:  # among many solutions it would take one
            raise too_few from None
    return np.asarray(found)[0].T


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the advice, on import, to install what draws progress bars in notebooks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator for a while: SHAP draws from it."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


WAYS = {LIME: lime_weights, SHAP: shap_weights}


def attributions(
    asked: Asked,
    image: np.ndarray,
    class_index: int,
    cuts: Mapping[str, Regions],
    cell: np.ndarray,
    fill: np.ndarray,
    *,
    n_samples: int,
    seed: int = 0,
) -> dict[str, Attribution]:
    """Explain one image's class by all methods.

    Parameters
    ----------
    asked : Asked
        J judges.
    image : numpy.ndarray, shape (H, W, 3), uint8
        Of the judges' input size.
    class_index : int
    cuts : mapping of str to Regions
        `regions`, `superpixels`, both or none: LIME and SHAP share the verdict out among them.
    cell : numpy.ndarray, shape (H, W), bool
        Where the cell lies; part of the image.
    fill : numpy.ndarray, shape (H, W, 3), uint8
        One colour, that hides a region.
    n_samples : int
        Images with hidden regions for each explanation; with four regions sixteen are all.
    seed : int

    Returns
    -------
    dict of str to Attribution
        Of `METHODS`, in their order. The controls ask no network: `random` is a smooth map drawn
        for each judge, `cell outline` the cell itself, evenly filled.
    """
    judges = asked.judges

    def kept(maps: np.ndarray, regions: Regions | None, seconds: float) -> Attribution:
        return Attribution(dict(zip(judges.names, maps, strict=True)), regions, seconds)

    def score(images: np.ndarray) -> np.ndarray:
        return asked(images)[:, :, class_index]

    started = time.perf_counter()
    heat = judges.heat_maps(image[None], class_index)[0]
    found = {GRADCAM: kept(heat, None, time.perf_counter() - started)}
    for name, way in WAYS.items():
        for cut, regions in cuts.items():
            weights, seconds = asked.timed(
                lambda way=way, regions=regions: way(
                    score, image, regions, fill, n_samples=n_samples, seed=seed
                )
            )
            found[f"{name}, {cut}"] = kept(regions.spread(weights), regions, seconds)
    rng, grid = np.random.default_rng(seed), heat.shape[1:]
    drawn = np.stack([random_map(grid, rng, grid=grid) for _ in judges.names])
    found[RANDOM] = kept(drawn, None, 0.0)
    outline = Regions.of(cell.astype(int), ("elsewhere", "cell"))
    same = outline.spread(np.array([[0.0, 1.0]] * len(judges.names)))
    return {**found, OUTLINE: kept(same, outline, 0.0)}
