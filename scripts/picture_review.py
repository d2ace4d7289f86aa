"""Take the book's picture of `hv review`: drawn cells, judged by the model, in headless Chromium.

    python scripts/picture_review.py

writes book/images/review.png. No real pixel is in it.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hv_utils.drawn.smear import draw_photo
from hv_utils.ground.runs import PROJECT_ROOT
from hv_utils.images.labels import CLASSES
from hv_utils.inference.labelling import label_images
from hv_utils.serve.review import write_review

sys.path.append(str(PROJECT_ROOT / "tests"))
from browser import Browser

FIELDS, WIDTH, HEIGHT = 48, 1280, 760
OUT = PROJECT_ROOT / "book" / "images" / "review.png"


def main() -> None:
    """Draw, judge, review, press a few keys, take the picture."""
    folder = Path(tempfile.mkdtemp())
    fields = folder / "fields"
    fields.mkdir()
    for number in range(FIELDS):
        rng = np.random.default_rng((2026, number))
        left, right = (draw_photo(CLASSES[rng.integers(4)], rng=rng).image for _ in range(2))
        # Two cells in every fourth field, side by side.
        image = np.hstack([left, right]) if number % 4 == 0 else left
        Image.fromarray(image).save(fields / f"field-{number:02d}.png")
    table = folder / "verdicts.csv"
    label_images([fields], csv=table, why=True, complain=lambda line: None)
    page = write_review(table, folder / "review.html").path
    with Browser(folder / "browser") as browser:
        browser.look()
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        browser.open(page.as_uri())
        browser.js("document.getElementById('initials').focus()")
        browser.press("A", "B")
        browser.js("document.getElementById('gallery').focus()")
        browser.press("5", "6", "Enter", "5", "5", "+")
        time.sleep(1)
        browser.shoot(folder / "review.png")
    picture = Image.open(io.BytesIO((folder / "review.png").read_bytes())).convert("RGB")
    picture.quantize(160, dither=Image.Dither.NONE).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
