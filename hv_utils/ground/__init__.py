"""What every room stands on: errors, progress, files, run folders, the table of predictions.

In: paths, texts and mappings. Out: files written whole or not at all, one kind of error, one kind
of progress. May import nothing of the package.
"""
