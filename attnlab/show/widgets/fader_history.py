"""What undo takes back on the mixing desk: a whole drag at once, and apart for A and for B."""

from typing import Any

_STEPS = 100  # remembered, at most

Tables = dict[str, Any]  # scale and temperature, each layers by heads


class FaderHistory:
    """The states of the faders before the one they are in.

    Parameters
    ----------
    now : what the faders say at first
    """

    def __init__(self, now: Tables):
        self.now = now
        self._past: list[Tables] = []
        self._past_of_other: list[Tables] = []
        self._gesture: object = None

    @property
    def can_undo(self) -> bool:
        """Whether there is a state to go back to."""
        return bool(self._past)

    def note(self, tables: Tables, gesture: object = None) -> None:
        """The faders moved; all moves of one gesture are taken back together."""
        if tables != self.now and (gesture is None or gesture != self._gesture):
            self._past = [*self._past[1 - _STEPS :], self.now]
        self.now, self._gesture = tables, gesture

    def back(self) -> Tables | None:
        """The state before, which is now the one the faders are in; None if there is none."""
        if not self._past:
            return None
        self.now = self._past.pop()
        return self.now

    def switch(self, tables: Tables) -> None:
        """Go to the other one of A and B, which is in this state and has a history of its own."""
        self._past, self._past_of_other = self._past_of_other, self._past
        self.now = tables

    def forget_other(self) -> None:
        """Forget the history of the other one of A and B."""
        self._past_of_other = []
