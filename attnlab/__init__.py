"""attnlab: an interactive course on attention, and the package behind it.

``import attnlab as al`` gives the names below; each is loaded when it is first used, so importing
the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = {
    "attention",
    "balance",
    "bert",
    "datasets",
    "dates",
    "decoding",
    "device",
    "errors",
    "evaluate",
    "finetuning",
    "heads",
    "maps",
    "measures",
    "movement",
    "pairs",
    "reports",
    "search",
    "settings",
    "significance",
    "subwords",
    "sweeps",
    "synthetic",
    "tagged",
    "tagging",
    "tracking",
    "training",
    "transformer",
    "translation",
    "translation_scores",
}
_NAMES = {
    "AttentionMaps": "maps",
    "AttnlabError": "errors",
    "BalanceMeter": "show.balance_meter",
    "Classifier": "bert",
    "CrossMaps": "maps",
    "Evaluator": "evaluate",
    "HeadMixer": "show.widgets",
    "HeadSettings": "settings",
    "MaskDesk": "show.mask_desk",
    "ParallelDataset": "pairs",
    "Seq2SeqMaps": "maps",
    "Seq2SeqSettings": "settings",
    "Seq2SeqTransformer": "transformer",
    "SoftmaxDesk": "show.softmax_desk",
    "Subwords": "subwords",
    "TaggedDataset": "tagged",
    "Tagger": "tagging",
    "TextDataset": "datasets",
    "TrainingCurve": "show.training_curve",
    "TrainingMonitor": "show.training_monitor",
    "TranslationDesk": "show.translation_desk",
    "Translator": "translation",
    "TunerDesk": "show.tuner_desk",
    "attention_view": "show.views",
    "checks": "course.checks",
    "finetune": "finetuning",
    "finetune_tagger": "tagging",
    "load_classifier": "bert",
    "load_tagger": "tagging",
    "load_translator": "translation",
    "plots": "show.plots",
    "report": "reports",
    "train_translator": "translation",
    "translation_view": "show.views",
}

if TYPE_CHECKING:
    from attnlab import (
        attention,
        balance,
        bert,
        datasets,
        dates,
        decoding,
        device,
        errors,
        evaluate,
        finetuning,
        heads,
        maps,
        measures,
        movement,
        pairs,
        reports,
        search,
        settings,
        significance,
        subwords,
        sweeps,
        synthetic,
        tagged,
        tagging,
        tracking,
        training,
        transformer,
        translation,
        translation_scores,
    )
    from attnlab.bert import Classifier, load_classifier
    from attnlab.datasets import TextDataset
    from attnlab.errors import AttnlabError
    from attnlab.evaluate import Evaluator
    from attnlab.finetuning import finetune
    from attnlab.maps import AttentionMaps, CrossMaps, Seq2SeqMaps
    from attnlab.pairs import ParallelDataset
    from attnlab.settings import HeadSettings, Seq2SeqSettings
    from attnlab.subwords import Subwords
    from attnlab.tagged import TaggedDataset
    from attnlab.tagging import Tagger, finetune_tagger, load_tagger
    from attnlab.transformer import Seq2SeqTransformer
    from attnlab.translation import Translator, load_translator, train_translator


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"attnlab.{name}")
    if name in _NAMES:
        module = importlib.import_module(f"attnlab.{_NAMES[name]}")
        return module if _NAMES[name].endswith(f".{name}") else getattr(module, name)
    raise AttributeError(f"module 'attnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_MODULES, *_NAMES, "__version__"])
