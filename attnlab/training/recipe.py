"""What is chosen before a run: epochs, batch size, learning rate and the like."""

from dataclasses import dataclass

from attnlab.errors import AttnlabError


@dataclass(frozen=True)
class Recipe:
    """What is chosen before a run.

    Attributes
    ----------
    epochs : how often every text is seen
    batch_size : texts to a step
    learning_rate : at its highest
    head_lr_multiplier : how many times faster the layers above the encoder learn
    warmup : share of the steps over which the learning rate rises; then it falls to 0 linearly
    weight_decay : on matrices only, not on biases and norms
    max_grad_norm : longer gradients are cut to this length
    micro_batches : in how many parts a batch is computed: less memory, the same step
    bucket_batches : so many batches are ordered by length together. More leave less padding, fewer
        mix better what is in a batch: where length tells the label (news in topics), take 1, and
        ``micro_batches=4``, which computes each batch in parts of like length.
    max_steps : stop after so many steps, inside an epoch if need be, which then is measured like
        the others; None for all steps of all epochs
    patience : stop after so many epochs without a better dev accuracy; None for never
    seed : of everything that is drawn

    Raises
    ------
    AttnlabError : a value without sense, with the range it must lie in
    """

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_lr_multiplier: float = 1.0
    warmup: float = 0.06
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    micro_batches: int = 1
    bucket_batches: int = 32
    max_steps: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "micro_batches", "bucket_batches"):
            if getattr(self, name) < 1:
                raise AttnlabError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.learning_rate > 0 or not 0 <= self.warmup <= 1:
            raise AttnlabError(
                f"learning_rate is {self.learning_rate}, warmup {self.warmup}. The first must be "
                "positive, such as 1e-4, the second a share of the steps, from 0 to 1."
            )
        if not self.head_lr_multiplier > 0:
            raise AttnlabError(
                f"head_lr_multiplier is {self.head_lr_multiplier}; it multiplies the learning "
                "rate, so it must be above 0, such as 10."
            )
        if self.max_steps is not None and self.max_steps < 1:
            raise AttnlabError(f"max_steps is {self.max_steps}; it must be at least 1, or None.")
        if self.patience is not None and self.patience < 1:
            raise AttnlabError(
                f"patience is {self.patience}; it counts epochs, so 1 or more, or None."
            )
