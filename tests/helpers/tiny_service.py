"""A service around a tiny classifier, in a process of its own, for tests of what happens to it.

``python tests/helpers/tiny_service.py --port 0`` prints where it listens. A text "sleep 0.5" holds
the worker up for so long; "raise" makes the classifier raise.
"""

import argparse
import time

from tiny_classifiers import tiny_classifier

from attnlab.adaptive import serving
from attnlab.adaptive.controller import Controller, OperatingPoint
from attnlab.adaptive.service import BatchingService
from attnlab.adaptive.web import Limits


class Moody:
    """Answers like a classifier, and does what some texts say."""

    def __init__(self, clf):
        self.clf, self.label_names = clf, clf.label_names

    def predict(self, texts):
        for text in texts:
            if text == "raise":
                raise ValueError("this text cannot be read")
            if text.startswith("sleep "):
                time.sleep(float(text.split()[1]))
        return self.clf.predict(texts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--most-waiting", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--patience", type=float, default=5.0)
    given = parser.parse_args()
    serving.HEAD_S = given.patience
    clf = Moody(tiny_classifier("bert"))
    points = [
        OperatingPoint(name, accuracy, ms, kept, clf)
        for name, accuracy, ms, kept in (("full", 0.9, 2.0, 1.0), ("half", 0.8, 1.0, 0.5))
    ]
    service = BatchingService(
        Controller(points, 200.0),
        most_waiting=given.most_waiting,
        most_batch=8,
        timeout_s=given.timeout,
    )
    limits = Limits(texts=4, characters=200, body=10_000, body_s=given.patience)
    bound = serving.listen(port=given.port)
    serving.run(service, bound, limits, ready=lambda url: print(url, flush=True))
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
