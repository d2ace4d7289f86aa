"""Take the book's pictures of `hv review` and `hv serve`: drawn cells, in headless Chromium.

    python scripts/picture_pages.py

writes book/images/review.png and service.png. No real pixel is in them.
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

from running_service import running

FIELDS, WIDTH, HEIGHT = 48, 1280, 760
IMAGES = PROJECT_ROOT / "book" / "images"
DONE = "document.querySelector('.hv-classify-says').textContent.startsWith('Done')"


def main() -> None:
    """Draw the fields, open both pages, take the pictures."""
    folder = Path(tempfile.mkdtemp())
    fields = folder / "fields"
    fields.mkdir()
    for number in range(FIELDS):
        rng = np.random.default_rng((2026, number))
        left, right = (draw_photo(CLASSES[rng.integers(4)], rng=rng).image for _ in range(2))
        # Two cells in every fourth field, side by side.
        image = np.hstack([left, right]) if number % 4 == 0 else left
        Image.fromarray(image).save(fields / f"field-{number:02d}.png")
    with Browser(folder / "browser") as browser:
        browser.look()
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        review(browser, fields, folder)
        save(browser, "review")
        with running("--why", "--coverage", "0.9") as service:
            browser.open(f"{service.url}/")
            browser.choose("input[type=file]", *sorted(fields.iterdir())[:2])
            while not browser.js(DONE):
                time.sleep(0.2)
            browser.js("document.querySelector('.hv-verdicts').scrollIntoView()")
            save(browser, "service")


def review(browser: Browser, fields: Path, folder: Path) -> None:
    """Open the review of the fields and press a few keys."""
    table = folder / "verdicts.csv"
    label_images([fields], csv=table, why=True, complain=lambda line: None)
    browser.open(write_review(table, folder / "review.html").path.as_uri())
    browser.js("document.getElementById('initials').focus()")
    browser.press("A", "B")
    browser.js("document.getElementById('gallery').focus()")
    browser.press("5", "6", "Enter", "5", "5", "+")
    time.sleep(1)


def save(browser: Browser, name: str) -> None:
    """Save what is seen, in few colours."""
    target = IMAGES / f"{name}.png"
    with tempfile.TemporaryDirectory() as folder:
        browser.shoot(Path(folder) / "seen.png")
        picture = Image.open(io.BytesIO((Path(folder) / "seen.png").read_bytes())).convert("RGB")
    picture.quantize(160, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
