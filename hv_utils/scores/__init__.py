"""Numbers about predictions: metrics, intervals, calibration, comparisons, verdicts.

In: labels, probabilities and the cell of each image. Out: scores with intervals by cell. Knows
nothing of files and models. May import: ground.
"""
