"""The Keras side: preprocessing, network, start weights, training, Grad-CAM, export.

In: the image table. Out: a trained model, its history, its heat maps, and its export for
`inference`. May import: images, data, drawn, fields, scores, inference.
"""

from hv_utils.ground.memory import keep_freed_memory

keep_freed_memory()  # before TensorFlow begins its threads
