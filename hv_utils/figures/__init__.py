"""Every figure of the report: charts, pictures, scores, crops, in one palette.

In: tables and arrays. Out: Matplotlib figures, closed in pyplot. May import: images.
"""
