"""The doors for a browser: pages and the service.

In: tables, images, a model. Out: pages that open from disk, answers over HTTP.
May import: data, fields, images, inference, scores.
"""
