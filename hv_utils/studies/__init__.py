"""The report's experiments: leak, ablations, audit, claims, and what was published of them.

In: image tables, features, predictions, recorded results. Out: tables that a notebook shows.
May import: images, drawn, data, fields, inference, scores, network, serve.
"""
