"""Ways to fine-tune: which weights a method trains, and what it adds to the model."""

from typing import Any, Literal

from torch import nn

from attnlab.classification.saving import quietly
from attnlab.errors import ModelError, needs
from attnlab.training.callbacks import Callback
from attnlab.training.run import Run

Method = Literal["full", "frozen-embeddings", "frozen", "lora", "adalora", "prefix"]

# the highest learning rate of each method, where none is given
LEARNING_RATES = {
    "full": 1e-4,
    "frozen-embeddings": 1e-4,
    "frozen": 1e-2,
    "lora": 1e-3,
    "adalora": 2e-2,
    "prefix": 3e-2,
}
_TAKES_PREFIX = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
_ON_TOP = ("classifier", "pre_classifier")


def prepared(
    model: Any, method: str, rank: int, steps: int, fresh: list[str]
) -> tuple[Any, list[Callback]]:
    """Set free what a method trains, and freeze the rest.

    Parameters
    ----------
    model : of Transformers
    method : one of `Method` but "prefix", for which there is `prefixed`
    rank : of the updates of "lora"; the mean rank that "adalora" leaves
    steps : of the whole run
    fresh : names of parameters that start from nothing; they always train

    Returns
    -------
    the model, or peft's wrapper around it, and callbacks that the method needs while it trains
    """
    if method == "full":
        return model, []
    if method == "frozen-embeddings":
        model.get_input_embeddings().requires_grad_(False)
        return model, []
    if method == "frozen":
        layer = tuple(f"{name}." for name in _ON_TOP)  # of a base that was fine-tuned before, too
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in fresh or name.startswith(layer))
        return model, []
    with needs("lab"):
        from peft import AdaLoraConfig, LoraConfig, get_peft_model

    settings = _adapter_settings(model, rank, fresh)
    with quietly():
        if method == "lora":
            return get_peft_model(model, LoraConfig(r=rank, **settings)), []
        # ranks are taken away over the middle of the run, then stay as they are
        config = AdaLoraConfig(
            init_r=rank + rank // 2,
            target_r=rank,
            tinit=steps // 10,
            tfinal=steps // 3,
            total_step=steps,
            **settings,
        )
        trained = get_peft_model(model, config)
    return trained, [_RankAllocation(trained)]


def prefixed(model: Any, virtual_tokens: int, fresh: list[str], base: str) -> Any:
    """Return the model behind peft's prefix; only the prefix and the classification layer train.

    Parameters
    ----------
    model : of Transformers
    virtual_tokens : keys and values that are added to each layer
    fresh : names of parameters that start from nothing
    base : name of the base that is noted in the adapter

    Raises
    ------
    ModelError : an encoder that takes no keys from outside or lacks its pooler; too many of them
    """
    with needs("lab"):
        from peft import PrefixTuningConfig, get_peft_model

    family = model.config.model_type
    if family not in _TAKES_PREFIX:
        raise ModelError(
            "Prefix tuning needs an encoder that takes keys from outside "
            f"({', '.join(_TAKES_PREFIX)}; this is {family}). Use 'lora'."
        )
    if any(not name.startswith("classifier") for name in fresh):
        raise ModelError(
            "This encoder comes without its pooler, and a prefix leaves everything but the last "
            "layer as it is: a random pooler would stay random. Use 'lora', which trains it."
        )
    most = model.config.max_position_embeddings // 2
    if not 1 <= virtual_tokens <= most:
        raise ModelError(f"virtual_tokens is {virtual_tokens}; take from 1 to {most}.")
    config = PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=virtual_tokens)
    with quietly():
        adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def parameters_on_top(model: Any) -> list[str]:
    """Return the names of the parameters above the encoder: pooler and classification layer."""
    above = {"pooler", *_ON_TOP}
    return [name for name, _ in model.named_parameters() if above & set(name.split("."))]


def _adapter_settings(model: Any, rank: int, fresh: list[str]) -> dict[str, Any]:
    """What LoRA and AdaLoRA have in common: all matrices of the encoder get an update."""
    new = {name.rpartition(".")[0] for name in fresh}  # modules that start from nothing train whole
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    kinds = {name.rpartition(".")[2] for name in linear if not name.startswith(_ON_TOP)}
    return {
        "target_modules": sorted(kinds),
        "exclude_modules": sorted(name for name in linear if name in new),
        "modules_to_save": sorted({_saved_whole(name) for name in new} - {"classifier"}) or None,
        "lora_alpha": 2 * rank,
        "task_type": "SEQ_CLS",
    }


def _saved_whole(name: str) -> str:
    """Of a fresh module the part that is saved: "bert.pooler.dense" is part of "pooler"."""
    parts = name.split(".")
    return "pooler" if "pooler" in parts else parts[0]


class _RankAllocation(Callback):
    """AdaLoRA's own step after each step: ranks move to where gradients say they help most."""

    def __init__(self, adapted: Any):
        self.adapted = adapted

    def on_step(self, run: Run) -> None:
        """Hand out the ranks anew."""
        if not run.left_out:
            self.adapted.base_model.update_and_allocate(run.step - 1)
