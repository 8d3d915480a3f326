"""Fine-tuning: a BERT-family encoder learns from labelled texts, by the method of your choice."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import nn

from attnlab.classification.classifier import (
    BUNDLED,
    RECORD,
    Classifier,
    check_target,
    load_base,
    quietly,
    save_adapter,
)
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.device import as_number_format, autocast, is_main_process
from attnlab.device import device as default_device
from attnlab.errors import AttnlabWarning, DataError, ModelError, needs, suggest
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import CHECKPOINT, fingerprint
from attnlab.training.loop import train
from attnlab.training.recipe import Recipe
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
# with many labels pooler and classification layer learn so many times faster than the encoder
HEAD_LR_MULTIPLIER = 10


def finetune(
    base: str | os.PathLike[str] = BUNDLED,
    splits: Splits | None = None,
    method: Method = "lora",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int = 3,
    learning_rate: float | None = None,
    batch_size: int = 32,
    pretrained: bool = True,
    rank: int = 8,
    virtual_tokens: int = 16,
    max_length: int | None = None,
    seed: int = 0,
    class_weights: Literal["balanced"] | None = None,
    gradient_checkpointing: bool = False,
    dtype: torch.dtype | str | None = None,
    resume: bool = False,
    command: str | None = None,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> Classifier:
    """Fine-tune a BERT-family encoder on labelled texts; return it at its best epoch on dev.

    Parameters
    ----------
    base : "minilm" (bundled), a folder or a hub name
    splits : with non-empty train and dev parts
    method :
        - "full" trains every weight;
        - "frozen-embeddings" every weight but the word embeddings, which are half of a small BERT;
        - "frozen" the classification layer alone, a probe of what the encoder knows already;
        - "lora" low-rank updates of all attention and feed-forward matrices (Hu et al. 2021);
        - "adalora" the same, with the ranks handed out to where they help most (Zhang et al. 2023). Its loss holds
          a penalty, and the last epoch is kept, when the ranks are settled;
        - "prefix" keys and values before those of the tokens, in every layer (Li and Liang 2021). They cannot be
          merged into the weights, so attention maps and `heads.prune` are not for such a classifier.
    out : folder for the result (an adapter for the last three); `load_classifier` reads it. While training
        it holds a checkpoint.
    learning_rate : default `LEARNING_RATES` of the method
    pretrained : with False every weight begins at random ("full" only), to see what pretraining gives
    rank : rank of the updates; for "adalora" the mean rank that is left in the end
    virtual_tokens : keys and values that "prefix" adds to each layer; texts may have so many tokens less
    max_length : tokens a text may have, [CLS] and [SEP] included; longer ones are cut, then and whenever the
        result is used. Default: as many as the encoder takes.
    class_weights : "balanced" gives every label the same say in the loss, however rare it is, and the best epoch
        is chosen by the mean recall of the labels (``dev_recall``); by default every text has the same
    gradient_checkpointing : compute activations again going backward instead of keeping them: less memory, and the
        forward pass is paid twice
    dtype : number format of what is computed, such as "float32"; weights stay float32. Default:
        what this kind of processor computes fastest, `device.number_format`. A run goes on in the
        format it began in.
    resume : go on from the checkpoint in ``out``
    command : noted beside an adapter as the way to make it again
    callbacks : of `training.Callback`, told how the run goes on, with the classifier as
        ``run.learner``: a `TrainingCurve`, a `balance.Recorder`
    **recipe : other fields of `training.Recipe`: head_lr_multiplier, warmup, weight_decay,
        max_grad_norm, micro_batches, bucket_batches, patience. By default ``head_lr_multiplier`` is
        `HEAD_LR_MULTIPLIER` where more than two labels are to be told apart while the encoder
        learns slowly, else 1.

    Returns
    -------
    Classifier with ``.history``; adapters are merged
    """
    if method not in LEARNING_RATES:
        raise ModelError(f"There is no method {method!r}. {suggest(method, LEARNING_RATES)}")
    splits = _usable(splits)
    weights = _weights(splits.train, class_weights)
    if out is not None:
        target = check_target(out)  # before the work, not after it
        if Path(base).exists() and Path(base).resolve() == target:
            raise ModelError(
                f"The result would take the place of its own base, {base}. Name another folder."
            )
        finished = any((target / one).exists() for one in (RECORD, "config.json"))
        if resume and finished and not (target / CHECKPOINT).exists():
            raise ModelError(
                f"The run in {out} is finished. al.load_classifier({str(out)!r}) loads it."
            )
    elif resume:
        raise ModelError("There is nothing to go on from: resume=True needs the folder, out=...")
    if not pretrained and method != "full":
        raise ModelError(
            f"Method {method!r} keeps weights as they are, which random ones are not worth. "
            "Use method='full' with pretrained=False."
        )
    if method == "prefix" and gradient_checkpointing:
        raise ModelError("A prefix does not go with gradient_checkpointing. Leave one of them out.")
    if resume and method == "adalora":
        raise ModelError(
            "A run of AdaLoRA cannot go on: how it hands out ranks is not in a checkpoint."
        )
    slow = method in ("full", "frozen-embeddings") and pretrained
    recipe.setdefault(
        "head_lr_multiplier",
        HEAD_LR_MULTIPLIER if slow and len(splits.train.label_names) > 2 else 1,
    )
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=LEARNING_RATES[method] if learning_rate is None else learning_rate,
        seed=seed,
        **recipe,
    )
    torch.manual_seed(seed)  # the new layers
    label_names = splits.train.label_names
    model, tokenizer, fresh = load_base(base, len(label_names), pretrained)
    model.to(default_device())
    if max_length is not None:
        _limit(tokenizer, model, max_length)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    steps = epochs * -(-len(splits.train) // batch_size)
    if method == "prefix":
        trained, own = _prefixed(model, virtual_tokens, fresh, _lasting(base)), []
    else:
        trained, own = prepared(model, method, rank, steps, fresh)
    clf = Classifier(trained if method == "prefix" else model, tokenizer, label_names)
    data, labels = clf.encode(splits.train.texts), torch.tensor(splits.train.labels)
    balanced = class_weights is not None
    dtype = as_number_format(dtype, clf.device.type)
    clf.history = train(
        trained,
        data.lengths,
        lambda indices: data.batch(indices) | {"labels": labels[indices]},
        _measuring(clf, splits.dev, balanced, dtype),
        recipe,
        dtype=dtype,
        folder=None if out is None or method == "adalora" else out,
        resume=resume,
        choose_by="epoch" if method == "adalora" else "dev_recall" if balanced else "dev_accuracy",
        identity={
            "method": method,
            "base": str(base),
            "class_weights": class_weights,
            "max_length": clf.max_length,
            "training_texts": fingerprint(vars(splits.train)),
            "dev_texts": fingerprint(vars(splits.dev)),
        },
        top=_above(trained),
        objective=None if weights is None else _weighted(weights.to(clf.device)),
        callbacks=[*own, *callbacks],
        learner=clf,
    )
    if gradient_checkpointing:
        model.gradient_checkpointing_disable()
    model.requires_grad_(True)
    writes = out is not None and is_main_process()
    if trained is model:
        if writes:
            clf.save(out)
        return clf
    if writes:
        record = {
            "base": _lasting(base),
            "label_names": label_names,
            "dataset": splits.train.name,
            "method": method,
            "command": command,
            "seed": seed,
            "max_length": max_length,
            "trainable_parameters": clf.history.trainable,
            "versions": {
                "torch": torch.__version__.split("+")[0],
                "transformers": transformers.__version__,
            },
            "history": clf.history.rows,
        }
        save_adapter(trained, record, out)
    if method == "prefix":
        return clf
    return Classifier(trained.merge_and_unload(), tokenizer, label_names, clf.history)


def _limit(tokenizer: Any, model: nn.Module, max_length: int) -> None:
    """Let texts have at most so many tokens; saved with the tokenizer."""
    tokenizer.model_max_length = int(1e9)  # a limit of an earlier fine-tuning can be lifted
    most = Classifier(model, tokenizer, []).max_length
    if not 3 <= max_length <= most:
        raise ModelError(
            f"max_length is {max_length}; this encoder takes from 3 to {most} tokens, [CLS] and [SEP] included."
        )
    tokenizer.model_max_length = max_length


def _usable(splits: Splits | None) -> Splits:
    """The splits, or an error that says what is missing."""
    if splits is None or not len(splits.train) + len(splits.dev):
        raise DataError(
            "finetune needs texts to train on and texts for dev. Use a set that has both, such as "
            "al.datasets.load('movie-sentiment'), or al.datasets.split(your_data)."
        )
    if not isinstance(splits.train, TextDataset):
        raise DataError(f"{splits.train!r} has no labels, so there is nothing to classify.")
    names = np.array(splits.train.label_names)
    for part in ("train", "dev"):
        if not len(getattr(splits, part)):
            raise DataError(
                f"{splits!r} leaves nothing for {part}. A split needs some ten texts of a label, with "
                "no copies; for fewer say how many you want, as in al.datasets.split(data, dev=1, test=0)."
            )
    seen = set(splits.train.labels)
    if len(seen) < 2:
        raise DataError(
            f"All {len(splits.train)} training texts have the label {str(names[seen.pop()])!r}, so there "
            "is nothing to tell apart. Add texts with other labels."
        )
    for part, trouble in (("train", "cannot be learned"), ("dev", "are not measured")):
        present = getattr(splits, part).labels_in(splits.train.label_names)
        absent = sorted(set(range(len(names))) - set(present))
        if absent:
            some = ", ".join(names[absent[:3]]) + (", ..." if len(absent) > 3 else "")
            warnings.warn(
                f"{len(absent)} of {len(names)} labels have no text in {part} and {trouble}: {some}",
                AttnlabWarning,
                stacklevel=3,
            )
    return splits


def _weights(train: TextDataset, kind: str | None) -> torch.Tensor | None:
    """A weight for each label, with mean 1 over the texts."""
    if kind is None:
        return None
    if kind != "balanced":
        raise ModelError(f"There are no class weights {kind!r}. Use 'balanced', or leave them out.")
    counts = torch.bincount(torch.tensor(train.labels), minlength=len(train.label_names))
    return len(train) / ((counts > 0).sum() * counts.clamp_min(1))


def _weighted(weights: torch.Tensor) -> Callable[[Any, dict[str, torch.Tensor]], torch.Tensor]:
    """The loss with a weight for each label."""

    def objective(outputs: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = inputs["labels"]
        losses = nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="none")
        penalty = outputs.loss - losses.mean()  # what AdaLoRA adds; else 0
        return (weights.to(labels.device)[labels] * losses).mean() + penalty

    return objective


def _lasting(base: str | os.PathLike[str]) -> str:
    """A name of the base that holds wherever the result is loaded: of a folder its whole path."""
    return str(Path(base).resolve()) if Path(base).is_dir() else str(base)


def _measuring(
    clf: Classifier, dev: TextDataset, balanced: bool, dtype: torch.dtype
) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch; with balanced weights the mean recall of the labels, too."""
    encoded, labels = clf.encode(dev.texts), torch.tensor(dev.labels_in(clf.label_names))

    def measure() -> dict[str, float]:
        with autocast(clf.device, dtype):
            logits = clf.logits(encoded)
        right = (logits.argmax(-1) == labels).double()
        measured = {
            "dev_accuracy": float(right.mean()),
            "dev_loss": float(nn.functional.cross_entropy(logits, labels)),
        }
        if balanced:
            recalls = [float(right[labels == one].mean()) for one in labels.unique()]
            measured["dev_recall"] = sum(recalls) / len(recalls)
        return measured

    return measure


def prepared(
    model: nn.Module, method: Method, rank: int, steps: int, fresh: list[str]
) -> tuple[nn.Module, list[Callback]]:
    """The model with what the method trains set free, and what is to be done after each step."""
    if method == "full":
        return model, []
    if method == "frozen-embeddings":
        model.get_input_embeddings().requires_grad_(False)
        return model, []
    if method == "frozen":
        layer = ("classifier.", "pre_classifier.")  # of a base that was fine-tuned before, too
        for name, one in model.named_parameters():
            one.requires_grad_(name in fresh or name.startswith(layer))
        return model, []

    with needs("lab"):
        from peft import AdaLoraConfig, LoraConfig, get_peft_model

    new = {name.rpartition(".")[0] for name in fresh}  # modules that start from nothing train whole
    linear = [name for name, one in model.named_modules() if isinstance(one, nn.Linear)]
    head = ("classifier", "pre_classifier")
    kinds = {name.rpartition(".")[2] for name in linear if not name.startswith(head)}
    settings: dict[str, Any] = {
        "target_modules": sorted(kinds),
        "exclude_modules": sorted(name for name in linear if name in new),
        "modules_to_save": sorted({_top(name) for name in new} - {"classifier"}) or None,
        "lora_alpha": 2 * rank,
        "task_type": "SEQ_CLS",
    }
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


class _RankAllocation(Callback):
    """AdaLoRA's step after each step: ranks move to where gradients say they help most."""

    def __init__(self, adapted: Any):
        self.adapted = adapted

    def on_step(self, run: Run) -> None:
        """Hand out the ranks anew."""
        if not run.left_out:
            self.adapted.base_model.update_and_allocate(run.step - 1)


def _above(model: nn.Module) -> list[str]:
    """Names of the parameters above the encoder: the pooler and the classification layer."""
    above = {"pooler", "classifier", "pre_classifier"}
    return [name for name, _ in model.named_parameters() if above & set(name.split("."))]


def _top(name: str) -> str:
    """Of a fresh module the part that is saved whole: "bert.pooler.dense" is part of "pooler"."""
    parts = name.split(".")
    return "pooler" if "pooler" in parts else parts[0]


def _prefixed(model: nn.Module, virtual_tokens: int, fresh: list[str], base: str) -> nn.Module:
    """The model behind peft's prefix; only the prefix and the classification layer train."""
    with needs("lab"):
        from peft import PrefixTuningConfig, get_peft_model

    family = model.config.model_type
    if family not in _TAKES_PREFIX:
        raise ModelError(
            f"Prefix tuning needs an encoder that takes keys from outside ({', '.join(_TAKES_PREFIX)}; this "
            f"is {family}). Use 'lora'."
        )
    if any(not name.startswith("classifier") for name in fresh):
        raise ModelError(
            "This encoder comes without its pooler, and a prefix leaves everything but the last layer as it "
            "is: a random pooler would stay random. Use 'lora', which trains it."
        )
    most = model.config.max_position_embeddings // 2
    if not 1 <= virtual_tokens <= most:
        raise ModelError(f"virtual_tokens is {virtual_tokens}; take from 1 to {most}.")
    config = PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=virtual_tokens)
    with quietly():
        adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


_TAKES_PREFIX = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
