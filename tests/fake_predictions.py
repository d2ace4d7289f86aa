"""A prediction table without a model: probabilities drawn around the true class, by cell."""

import numpy as np
import pandas as pd

CLASSES = ["eosinophil", "lymphocyte", "monocyte", "neutrophil"]


def predictions(n_cells=24, copies=10, seed=0, classes=CLASSES, sharpness=2.0):
    """Predictions in which the copies of a cell fail together."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(n_cells) % len(classes), copies)
    logits = rng.normal(size=(n_cells * copies, len(classes)))
    bias = np.repeat(rng.normal(1.5, 1.5, n_cells), copies)
    logits[np.arange(len(label)), label] += bias
    probs = np.exp(sharpness * logits)
    probs /= probs.sum(1, keepdims=True)
    table = pd.DataFrame(probs, columns=[f"prob_{name}" for name in classes])
    table.insert(0, "path", [f"{i}.jpeg" for i in range(len(table))])
    table.insert(1, "label", np.array(classes)[label])
    table.insert(2, "cell", [f"{i // copies:05d}" for i in range(len(table))])
    return table.assign(predicted=np.array(classes)[probs.argmax(1)])
