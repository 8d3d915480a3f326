"""Whether the parts of a classifier belong together: model, tokenizer, labels, what they mean."""

from typing import Any

from attnlab.classification.failures import knows_words
from attnlab.classification.naming import finetuning
from attnlab.datasets.labelled import Labelled
from attnlab.errors import ModelError
from attnlab.heads import is_decoder, model_of

_PADDED_TO = 1024  # rows of word embeddings are often filled up to a multiple of 8, ..., this
_FEW = 128  # rows too many, which an odd multiple explains
_POSITIONS_BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert")


def check_parts(model: Any, tokenizer: Any, label_names: list[str], task: str) -> None:
    """Raise ModelError unless a model, a tokenizer and names of labels are of one classifier.

    Parameters
    ----------
    model : of Transformers, or peft's wrapper around it
    tokenizer : of Transformers
    label_names : one for each output
    task : how the model's class must end, "ForSequenceClassification" for whole texts
    """
    plain = model_of(model)
    if not any(kind.__name__.endswith(task) for kind in type(plain).__mro__):
        raise ModelError(
            f"Expected a model {task}, got {type(plain).__name__}, whose outputs mean something "
            f"else. al.finetune makes a classifier of an encoder; AutoModel{task} loads one."
        )
    if task == "ForSequenceClassification":
        refuse_other_tasks(plain.config)
    check_labels(plain, label_names)
    if not callable(tokenizer) or not hasattr(tokenizer, "get_vocab"):
        raise ModelError(
            f"Expected a tokenizer of Transformers, got {type(tokenizer).__name__}. "
            "AutoTokenizer.from_pretrained(folder) loads one."
        )
    if not (isinstance(tokenizer.model_max_length, int) and tokenizer.model_max_length > 2):
        raise ModelError(
            f"tokenizer.model_max_length is {tokenizer.model_max_length}; expected is how many "
            "tokens a text may have, [CLS] and [SEP] included, such as 512."
        )
    _check_vocabulary(plain, tokenizer)
    _check_padding(plain.config, tokenizer)
    _check_on_a_text(tokenizer)


def refuse_other_tasks(config: Any) -> None:
    """Raise ModelError for outputs that are not one label of several."""
    if config.num_labels < 2 or config.problem_type == "regression":
        what = f"answers with {'a number' if config.num_labels < 2 else 'numbers'} (regression)"
        cure = "Sort the numbers into classes and fine-tune its encoder on these"
    elif config.problem_type == "multi_label_classification":
        what = "says yes or no to each label (multi_label_classification)"
        cure = "Fine-tune its encoder on texts with one label each"
    else:
        return
    raise ModelError(
        f"This model {what}, and attnlab's classifiers choose one label of two or more: its "
        "probabilities would be wrong here. transformers.pipeline('text-classification') reads its "
        f"answers. {cure}: {finetuning('FOLDER')}."
    )


def longest_text(config: Any, tokenizer: Any, prefix: int) -> int:
    """Return how many tokens a text may have: what positions and tokenizer allow."""
    positions = getattr(config, "max_position_embeddings", 512)
    if config.model_type in _POSITIONS_BEHIND_PADDING:
        positions -= config.pad_token_id + 1  # they start behind the padding index
    return min(positions - prefix, tokenizer.model_max_length)


def check_text_kinds(config: Any, kinds: int) -> None:
    """Raise ModelError if a tokenizer tells texts of a pair apart and the model cannot."""
    known = getattr(config, "type_vocab_size", None)
    if known is not None and kinds > known:
        raise ModelError(
            f"The tokenizer marks the second text of a pair with token type {kinds - 1}, and this "
            f"model has {known} (type_vocab_size). Leave the marks out: "
            'tokenizer.model_input_names = ["input_ids", "attention_mask"].'
        )


def labels_of(label_names: list[str], dataset: Labelled) -> list[int]:
    """Return a data set's labels in a classifier's numbering, matched by name."""
    theirs = dataset.label_names
    unnamed = all(name.startswith("LABEL_") for name in label_names)
    if unnamed and len(label_names) == len(theirs) and not set(theirs) <= set(label_names):
        return list(dataset.labels)
    return dataset.labels_in(label_names)


def check_labels(model: Any, label_names: list[str]) -> None:
    """Raise ModelError unless each output of a model has a name of its own."""
    if not all(isinstance(name, str) for name in label_names):
        raise ModelError(
            f"The names of labels are {list(label_names)[:5]}; expected a list of str, one for "
            "each output of the model."
        )
    layer = getattr(model, "classifier", getattr(model, "score", None))  # "score" of decoders
    outputs = getattr(getattr(layer, "out_proj", layer), "out_features", model.config.num_labels)
    if len(label_names) != outputs:
        raise ModelError(
            f"There are {len(label_names)} names of labels ({', '.join(label_names[:5])})"
            f" and the model has {outputs} outputs. Give one name for each."
        )
    if doubled := sorted({name for name in label_names if label_names.count(name) > 1}):
        raise ModelError(
            f"Two labels have the same name ({', '.join(doubled)}), so an answer would not say "
            "which. Give each its own, in id2label of config.json or in label_names."
        )


def label_names_of(config: Any) -> list[str]:
    """Return the names of a configuration's labels in order; ModelError if there is a gap."""
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if sorted(names) != list(range(len(names))):
        raise ModelError(
            f"id2label in config.json names the labels {sorted(names)}; expected is 0 to "
            f"{len(names) - 1} without a gap. Name every output of the model."
        )
    numbers = config.label2id or {}
    if set(numbers) == set(names.values()) and any(numbers[names[key]] != key for key in names):
        raise ModelError(
            f"id2label and label2id in config.json contradict each other: {names} and "
            f"{dict(numbers)}. Make them agree with how the model was trained."
        )
    return [names[index] for index in range(len(names))]


def _check_vocabulary(model: Any, tokenizer: Any) -> None:
    words = model.get_input_embeddings()
    rows = getattr(words, "num_embeddings", None) or words.weight.shape[0]
    ids = max(tokenizer.get_vocab().values(), default=-1) + 1
    if not knows_words(tokenizer):
        raise ModelError(
            "The tokenizer knows no words, only special tokens: its files were missing when it was "
            "loaded. Load the one that the model was trained with."
        )
    if ids > rows:
        raise ModelError(
            f"The tokenizer has {ids:,} tokens and the model {rows:,} rows of word embeddings: it "
            "knows nothing of the others. After tokenizer.add_tokens(...) call "
            "model.resize_token_embeddings(len(tokenizer)) and train; otherwise load the tokenizer "
            "that belongs to the model."
        )
    filled_up = any(-(-ids // step) * step == rows for step in (256, 512, _PADDED_TO))
    if rows - ids >= _FEW and not filled_up:
        raise ModelError(
            f"The model has {rows:,} rows of word embeddings and the tokenizer only {ids:,} "
            "tokens: it is cut off or belongs to another model. Load the one that the model was "
            "trained with; if it is this one, call model.resize_token_embeddings(len(tokenizer))."
        )


def _check_padding(config: Any, tokenizer: Any) -> None:
    given, known = tokenizer.pad_token_id, getattr(config, "pad_token_id", None)
    if given is None:
        raise ModelError(
            "The tokenizer has no token for padding, so texts cannot be put into one batch. Name "
            "the one that the model was trained with: tokenizer.pad_token = '[PAD]'."
        )
    if known is None and is_decoder(config):
        raise ModelError(
            f"This {config.model_type!r} model answers from the last token that is no padding, and "
            "its configuration names no token for padding. Set "
            f"model.config.pad_token_id = {given} (pad_token_id in config.json), the token "
            f"{tokenizer.pad_token} that the tokenizer pads with."
        )
    if known is not None and known != given:
        raise ModelError(
            f"The tokenizer pads with token {given} ({tokenizer.pad_token}), and the model's "
            f"configuration says {known}: they belong to different models. Load the tokenizer that "
            "the model was trained with; if it is this one, set "
            f"model.config.pad_token_id = {given} (pad_token_id in config.json)."
        )


def _check_on_a_text(tokenizer: Any) -> None:
    """A tokenizer without a token for what it does not know fails only when it meets some."""
    try:
        tokenizer("a ☃")
    except Exception as error:
        raise ModelError(
            f"The tokenizer is broken: it cannot cut the text 'a ☃' ({error}). Load the one that "
            "the model was trained with."
        ) from error
