"""Random changes of an image that leave its label alone, as Keras layers.

`preprocessing.augmentation_layers` puts them together. Importing this module loads TensorFlow.
"""

from __future__ import annotations

import math

import keras

DRAWS = 16  # more than a layer draws in one step


@keras.saving.register_keras_serializable("hv_utils")
class RandomAffine(keras.layers.Layer):
    """Mirror, turn, scale and shift each image at random, in one interpolation.

    Keras has a layer for each of these; one after the other they interpolate three times, which
    takes longer and blurs the granules.

    Parameters
    ----------
    rotation_degrees, zoom, shift, flip, seed
        See `preprocessing.augmentation_layers`.
    """

    def __init__(
        self,
        *,
        rotation_degrees: float = 20,
        zoom: float = 0.1,
        shift: float = 0.1,
        flip: bool = True,
        seed: int = 0,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.ranges = {"rotation_degrees": rotation_degrees, "zoom": zoom, "shift": shift}
        self.flip, self.seed = flip, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: object, training: bool = False) -> object:
        """Return images, float32 (N, height, width, 3), 0 to 255, changed where `training`."""
        if not training:
            return images
        changed = keras.ops.image.affine_transform(
            images, self._maps(images), interpolation="bilinear", fill_mode="constant"
        )
        return keras.ops.cast(changed, images.dtype)

    def _maps(self, images: object) -> object:
        """Draw one map an image, from its new pixels to its old ones: shape (N, 8)."""
        ops = keras.ops
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]

        def uniform(reach: float) -> object:
            return keras.random.uniform((count,), -reach, reach, seed=self.generator)

        def sign() -> object:
            return ops.sign(uniform(1.0)) if self.flip else ops.ones((count,))

        angle = uniform(self.ranges["rotation_degrees"] * math.pi / 180)
        scale = 1 + uniform(self.ranges["zoom"])
        cos, sin = ops.cos(angle) * scale, ops.sin(angle) * scale
        across, down = sign(), sign()
        a0, a1, b0, b1 = cos * across, -sin * across, sin * down, cos * down
        # The centre stays where it is, but for the shift.
        x, y = (width - 1) / 2, (height - 1) / 2
        a2 = x - a0 * x - a1 * y + uniform(self.ranges["shift"]) * width
        b2 = y - b0 * x - b1 * y + uniform(self.ranges["shift"]) * height
        nothing = ops.zeros((count,))
        return ops.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1)

    def get_config(self) -> dict:
        """Return what the layer can be made from again."""
        return {**super().get_config(), **self.ranges, "flip": self.flip, "seed": self.seed}


@keras.saving.register_keras_serializable("hv_utils")
class RandomStain(keras.layers.Layer):
    """Vary colour as stains, lamps and cameras do: a gain and a gamma for each channel.

    In optical density, -log of the light that comes through, a stain's strength multiplies and a
    lamp's colour adds; on the light itself these are a power and a factor. Variation of the stain
    in training is what carries a classifier to another laboratory (Tellez et al., 2019).

    Parameters
    ----------
    strength : float
        Standard deviation of the logarithm of power and factor, drawn once for the image and once
        for each channel; the factor varies half as much. 0.1 is mild, 0.3 strong.
    seed : int
    """

    def __init__(self, strength: float, *, seed: int = 0, **options: object) -> None:
        super().__init__(**options)
        self.strength, self.seed = strength, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: object, training: bool = False) -> object:
        """Return images, float32 (N, height, width, 3), 0 to 255, changed where `training`."""
        if not training:
            return images
        ops = keras.ops
        count = ops.shape(images)[0]

        def spread(size: float) -> object:
            whole = keras.random.normal((count, 1, 1, 1), 0.0, size, seed=self.generator)
            each = keras.random.normal((count, 1, 1, 3), 0.0, size, seed=self.generator)
            return ops.exp(whole + each)

        light = ops.clip(images, 0.0, 255.0) / 255
        power, factor = spread(self.strength), spread(self.strength / 2)
        return ops.clip(255 * factor * ops.power(light, power), 0.0, 255.0)

    def get_config(self) -> dict:
        """Return what the layer can be made from again."""
        return {**super().get_config(), "strength": self.strength, "seed": self.seed}


def restart(layers: keras.Model, step: object) -> None:
    """Set the seeds of augmentation layers to those of a step, whatever was drawn before it.

    A training that goes on in its second epoch then augments as one that has run through.
    """
    for layer in layers.layers:
        state = layer.generator.state
        state.assign(keras.ops.cast([layer.seed, step * DRAWS], state.dtype))
