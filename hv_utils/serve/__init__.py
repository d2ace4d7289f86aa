"""The doors for a browser: pages and the service.

In: pictures and tables that somebody has at the bench. Out: pages, and answers over HTTP.
May import: images, fields, inference, scores.
"""
