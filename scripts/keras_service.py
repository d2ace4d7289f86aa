"""A service of the usual kind, to measure `hv serve` against: Keras, and `predict` on each request.

    python scripts/keras_service.py model.keras {async|threads}

The model is loaded once. The handler is `async def`, as in most examples, or `def`, which FastAPI
runs in its threads. Prints its address.
"""

import io
import sys

import keras
import uvicorn
from fastapi import FastAPI, File, UploadFile

from hv_utils.serve.server import listen

app = FastAPI()
path, kind = sys.argv[1:]
model = keras.saving.load_model(path)


def judge(data: bytes) -> dict:
    """Return the probabilities of one picture."""
    image = keras.utils.load_img(io.BytesIO(data), target_size=model.input_shape[1:3])
    batch = keras.utils.img_to_array(image)[None]
    return {"probabilities": model.predict(batch, verbose=0)[0].tolist()}


if kind == "threads":

    @app.post("/predict")
    def predict(files: UploadFile = File()) -> dict:  # noqa: B008, D103
        return judge(files.file.read())

else:

    @app.post("/predict")
    async def predict(files: UploadFile = File()) -> dict:  # noqa: B008, D103
        return judge(await files.read())


sock = listen("127.0.0.1", 0)
print(f"127.0.0.1:{sock.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[sock])
