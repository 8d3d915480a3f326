"""Induction heads: how a model learns, all at once, to repeat what it has read.

Random tokens, then the same again: only a model that finds the earlier copy of a token, and what
followed it, can say what comes next. That takes two layers: a previous-token head tells each token
what stood before it, an induction head above looks for that. In comments B is batch, T tokens, L
layers, H heads.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from attnlab.errors import AttnlabError
from attnlab.inference import evaluating
from attnlab.language.looking import induction_scores, previous_token_scores
from attnlab.language.model import LanguageModel
from attnlab.transformer.cache import Seen

__all__ = ["Repeated", "repeated_sequences", "train_induction"]

SHORTEST, LONGEST = 16, 32  # halves of a sequence, tokens
VOCABULARY, WIDTH = 64, 64
EVERY = 10  # steps between two measurements
BATCH, LEARNING_RATE, WARMUP = 32, 3e-3, 20
_MEASURED, _HELD_OUT = 128, 10**6  # sequences on which is measured, and their seed


@dataclass(frozen=True, eq=False)
class Repeated:
    """Random sequences, each followed by itself.

    Attributes
    ----------
    ids : Tensor of int, shape (B, T), padded on the right with 0
    mask : Tensor of bool, shape (B, T), False at padding
    halves : Tensor of int, shape (B,), tokens of each sequence before it is repeated
    """

    ids: Tensor
    mask: Tensor
    halves: Tensor

    @property
    def second(self) -> Tensor:
        """Which next tokens can be told from the first half, bool (B, T - 1): see `token_losses`.

        All of the second half but its first, which comes before anything was seen to repeat.
        """
        places = torch.arange(1, self.ids.shape[1])  # of the token that is predicted
        return self.mask[:, 1:] & (places > self.halves[:, None])

    def __len__(self) -> int:
        return len(self.ids)


def repeated_sequences(
    batch: int,
    vocabulary: int = VOCABULARY,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    seed: int | torch.Generator = 0,
) -> Repeated:
    """Draw random tokens, and repeat them: "3 17 5 … 3 17 5 …".

    Parameters
    ----------
    batch : number of sequences B
    vocabulary : number of tokens to draw from; no token comes twice within a half, so that each has
        exactly one earlier copy
    shortest, longest : of a half, tokens; its length is drawn for each sequence. If all are equally
        long, the answer always stands equally far back, and a single layer can learn how far.
    seed : of what is drawn; or a torch Generator, to go on drawing

    Raises
    ------
    AttnlabError : halves that are empty or need more tokens than there are

    Source: Olsson et al. 2022, "In-context learning and induction heads".

    >>> drawn = repeated_sequences(2, vocabulary=9, shortest=3, longest=3)
    >>> drawn.ids.tolist()[0][:3] == drawn.ids.tolist()[0][3:]
    True
    """
    if not 1 <= shortest <= longest <= vocabulary or batch < 1:
        raise AttnlabError(
            f"Halves of {shortest} to {longest} tokens, {vocabulary} tokens and {batch} sequences: "
            "a half has at least one token, none twice, so at most as many as there are."
        )
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    halves = torch.randint(shortest, longest + 1, (batch,), generator=generator)
    first = torch.rand(batch, vocabulary, generator=generator).argsort(-1)[:, :longest]
    places = torch.arange(2 * longest)
    mask = places < 2 * halves[:, None]
    ids = first.gather(1, (places % halves[:, None]).clamp_max(longest - 1))
    return Repeated(ids.masked_fill(~mask, 0), mask, halves)


def train_induction(
    layers: int = 2, steps: int = 450, seed: int = 0, fixed: int | None = None, heads: int = 1
) -> tuple[LanguageModel, pd.DataFrame]:
    """Train a small attention-only model to go on with repeated sequences, and watch it.

    Parameters
    ----------
    layers : of attention; one layer cannot do it
    steps : of training, 32 sequences each
    seed : of weights and sequences; the same seed gives the same bits on the same machine
    fixed : a length that all halves have; None draws each from 16 to 32
    heads : in a layer. With one, each of two layers has its part. More of them share it, so that
        the loss of one may be made up for.

    Returns
    -------
    model : LanguageModel, width 64, 64 tokens, rotary positions, no feed-forward networks
    history : DataFrame, a row every 10 steps: ``step``; ``loss``, nats per token of the second half
        that the first one tells, and ``first_loss``, of all other tokens, on sequences that are not
        trained on; ``induction`` and ``previous_token``, the highest score of any head
    """
    shortest, longest = (SHORTEST, LONGEST) if fixed is None else (fixed, fixed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LanguageModel(
            VOCABULARY,
            WIDTH,
            heads,
            layers,
            feed_forward="none",
            tied=False,
        )
    measured = repeated_sequences(_MEASURED, VOCABULARY, shortest, longest, seed=_HELD_OUT)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98))
    history = []
    for step in range(steps + 1):
        if step % EVERY == 0 or step == steps:
            history.append({"step": step, **_measure(model, measured)})
        if step == steps:
            break
        batch = repeated_sequences(BATCH, VOCABULARY, shortest, longest, generator)
        loss = _losses(model(batch.ids, batch.mask), batch)[batch.second].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / WARMUP)
        optimizer.step()
    return model.eval(), pd.DataFrame(history)


def _losses(logits: Tensor, batch: Repeated) -> Tensor:
    """Nats of each next token, (B, T - 1)."""
    return nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch.ids[:, 1:], reduction="none"
    )


@torch.no_grad()
def _measure(model: LanguageModel, batch: Repeated) -> dict[str, float]:
    """Losses, and the highest scores of any head."""
    seen: Seen = []
    with evaluating(model):
        losses = _losses(model(batch.ids, batch.mask, seen=seen), batch)
    return {
        "loss": float(losses[batch.second].mean()),
        "first_loss": float(losses[batch.mask[:, 1:] & ~batch.second].mean()),
        "induction": float(induction_scores(seen, batch.ids, batch.mask).scores.max()),
        "previous_token": float(previous_token_scores(seen, batch.mask).scores.max()),
    }


def __dir__() -> list[str]:
    return sorted(__all__)
