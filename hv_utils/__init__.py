"""Helpers of the HematoVision report: from blood-smear images to an honest score."""

import os

__version__ = "0.1.0"

# ONNX Runtime's wheels report their use to their maker unless this is set before they are loaded.
# People predict on pictures of patients: nothing of that leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
