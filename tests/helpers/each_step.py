"""Callbacks for tests: a function that is called after each step."""

from attnlab.training.callbacks import Callback


class EachStep(Callback):
    """Calls a function with the run after each step; with ``start=True`` also before the first."""

    def __init__(self, call, start=False):
        self.call, self.start = call, start

    def on_start(self, run):
        if self.start:
            self.call(run)

    def on_step(self, run):
        self.call(run)
