"""The demo: blood cells drawn from a seed, in the layout of the real data set.

In: a seed and sizes. Out: photos, copies, boxes, and the truth about each. May import: images.
"""
