"""The exported model at work, without TensorFlow: what `hv predict` and `hv count` run.

In: images, fields, an ONNX model with its companions. Out: rows of tables, overlays, counts, a
summary. May import: fields, images, scores.
"""
