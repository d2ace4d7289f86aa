"""What every room stands on: errors, progress, paths and patterns, run folders.

In: paths, texts and mappings. Out: files written whole or not at all, one kind of error, one kind
of progress. May import nothing of the package.
"""
