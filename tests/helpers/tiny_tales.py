"""Tales that a tiny language model learns in a second."""

import random

from attnlab.datasets.own_tales import load_tales

WHO = ("fox", "king", "miller", "goose", "wolf")
DID = ("ran to the", "saw the", "spoke with the")


def texts(count=24, seed=0):
    """Texts of four or so short sentences."""
    draw = random.Random(seed)
    return [
        f"Tale {number}. "
        + " ".join(
            f"The {draw.choice(WHO)} {draw.choice(DID)} {draw.choice(WHO)}."
            for _ in range(draw.randint(3, 6))
        )
        for number in range(count)
    ]


def tiny_tales():
    return load_tales(texts(), dev=4, test=4)


SIZE = {"d_model": 16, "heads": 2, "layers": 2, "vocabulary": 300}
FAST = {
    "block_length": 16, "batch_size": 8, "steps": 12, "measure_every": 5, "learning_rate": 1e-2
}  # fmt: skip
