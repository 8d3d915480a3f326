"""Reading aid: our reader beside PP-OCR, on seen and held-out fonts and under scan-like noise.

``python tests/benchmarks/applying_reading.py train`` makes data/readers/printed, in under half an
hour on one thread. The test tales and the held-out fonts are opened once, by `measure`.
"""

import sys
import time
from pathlib import Path

from attnlab import applications, datasets

READER = Path("data/readers/printed/reader.safetensors")
TRAINING_LINES, DEV_LINES, TEST_LINES = 40_000, 500, 500
STRENGTH = (0.0, 2.0)  # of training and dev
STRENGTHS = (1.0, 2.0, 3.0)  # of test; the last is more than training shows
SHUFFLED = 0.15
STEPS = 3000


def train() -> applications.Reader:
    """Train the reader that comes with attnlab, and write it with its card."""
    options = {"strength": STRENGTH, "shuffled": SHUFFLED}
    lines = datasets.printed.make(TRAINING_LINES, "train", **options)
    dev = datasets.printed.make(DEV_LINES, "dev", strength=STRENGTH)
    reader = applications.Reader.train(lines, dev, steps=STEPS)
    READER.parent.mkdir(parents=True, exist_ok=True)
    reader.save(READER)
    return reader


if __name__ == "__main__":
    if sys.argv[1:] == ["train"]:
        began = time.perf_counter()
        for each in train().history.rows:
            print(each)
        print(f"{time.perf_counter() - began:.0f} s")
