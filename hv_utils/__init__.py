"""Helpers of the HematoVision report: from blood-smear images to an honest score."""

__version__ = "0.1.0"
