"""What a class needs: lessons, slides, handouts, exercises, kits, and machines without a network.

In: the book's pages, the notebooks, a finished run. Out: folders to hand out. May import: chain,
inference, serve.
"""
