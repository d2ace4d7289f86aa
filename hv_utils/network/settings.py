"""The settings of a training: one frozen dataclass a phase, and what its fingerprint is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

BATCH_NORM_MOMENTUM = 0.9  # Keras's 0.99 lags behind in a run of a few hundred steps


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """Phase 1: the head on the features of the frozen backbone.

    Attributes
    ----------
    epochs, patience : int
        Passes at most, and passes without a lower validation loss before stopping.
    learning_rate : float
        Of Adam.
    batch_size : int
        Images of one step.
    class_weight : bool
        Whether the loss weighs rare classes up, as scikit-learn's "balanced" does.
    calibration_images : int, optional
        See `weights.calibrate_batch_norm`; by default as many as the start weights need
        (`weights.CALIBRATION_IMAGES`).
    seed : int
        Of the order of the images and the drawing of the calibration images.
    """

    phase: ClassVar[str] = "head"
    epochs: int = 40
    learning_rate: float = 3e-4
    batch_size: int = 32
    class_weight: bool = True
    patience: int = 8
    calibration_images: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Phase 2: the upper blocks of the backbone, or all of it, together with the head.

    Attributes
    ----------
    from_block : str
        First block to train: `stem` (everything), `block2a` … `block7a`, `top`.
    epochs, patience : int
        Passes, and passes without a better validation macro-F1 before stopping.
    learning_rate : float
        Peak, of Adam.
    batch_size, class_weight
        As in `HeadTraining`.
    images_per_epoch : int
        Images of one pass; 0 takes all. No image is seen twice before all were seen once.
    augment : mapping, optional
        The parameters of `preprocessing.augmentation_layers` but its seed; without it the images
        stay as they are.
    norm_images : int
        After each pass, measure the statistics of the batch normalisations that train anew on so
        many training images as they are (`weights.calibrate_batch_norm`): those that were gathered
        on the way are of augmented images and of the last few batches. 0 keeps them.
    seed : int
        Of the order of the images and the augmentation.
    """

    phase: ClassVar[str] = "fine-tuning"
    from_block: str = "block6a"
    epochs: int = 5
    learning_rate: float = 1e-3
    batch_size: int = 32
    images_per_epoch: int = 0
    class_weight: bool = True
    augment: Mapping[str, Any] | None = None
    patience: int = 3
    norm_images: int = 0
    seed: int = 0
