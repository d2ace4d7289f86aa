"""The exported model at work, without TensorFlow: what `hv predict` runs.

In: image files and an ONNX model with its companions. Out: rows of the prediction table, overlays,
a summary. May import: fields, images.
"""
