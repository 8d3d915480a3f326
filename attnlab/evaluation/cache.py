"""Hidden states kept for the next question, so that nothing below a change is computed again."""

import numpy as np
from torch import Tensor

from attnlab.classification.base import ModelInputs
from attnlab.evaluation.forward import Engine


class HiddenStateCache:
    """The hidden states before each layer, heads neutral, of batches of texts.

    Parameters
    ----------
    encoded : the texts
    limit_mb : states are kept up to this size, in MB of 2^20 bytes; what does not fit is computed
        anew each time
    """

    def __init__(self, encoded: ModelInputs, limit_mb: float):
        self.encoded, self.limit_mb = encoded, limit_mb
        self._batches: dict[bytes, tuple[Tensor | None, list[Tensor]]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all states kept now."""
        return sum(_nbytes(states) for _, states in self._batches.values())

    def clear(self) -> None:
        """Forget all states, as after a change of the weights."""
        self._batches = {}

    def states(
        self, engine: Engine, indices: np.ndarray, last: int
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Where the tokens of a batch are, and its hidden states before layers 0 to ``last``.

        Parameters
        ----------
        engine : computes what is not there yet
        indices : int array (B,), which texts
        last : layer; the last one of the model at most counts

        Returns
        -------
        mask, states : Tensor (B, 1, 1, T), or None without padding; list of Tensors (B, T, E)
        """
        key = indices.tobytes()
        mask, cached_states = self._batches.get(key, (None, []))
        before = _nbytes(cached_states)
        if not cached_states:
            hidden, mask = engine.start(self.encoded, indices)
            cached_states = [hidden]
        states = [*cached_states]
        while len(states) <= min(last, len(engine.layers) - 1):
            states.append(engine.layer(len(states) - 1, states[-1], mask, None))
        if self.nbytes - before + _nbytes(states) <= self.limit_mb * 2**20:
            self._batches[key] = mask, states
        return mask, states


def _nbytes(states: list[Tensor]) -> int:
    return sum(state.numel() * state.element_size() for state in states)
