"""attnlab: an interactive course on attention, and the package behind it.

``import attnlab as al`` gives the names below; each is loaded when it is first used, so importing
the package costs next to nothing.
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:  # read by type checkers, and by `_exports`: the one list of what is public
    from attnlab import adaptive as adaptive
    from attnlab import applications as applications
    from attnlab import attention as attention
    from attnlab import balance as balance
    from attnlab import classification as classification
    from attnlab import compression as compression
    from attnlab import datasets as datasets
    from attnlab import device as device
    from attnlab import economics as economics
    from attnlab import errors as errors
    from attnlab import evaluation as evaluation
    from attnlab import heads as heads
    from attnlab import language as language
    from attnlab import statistics as statistics
    from attnlab import tagging as tagging
    from attnlab import training as training
    from attnlab import transformer as transformer
    from attnlab import translation as translation
    from attnlab import vision as vision
    from attnlab.classification.classifier import Classifier as Classifier
    from attnlab.classification.finetuning import finetune as finetune
    from attnlab.classification.loading import load_classifier as load_classifier
    from attnlab.course import checks as checks
    from attnlab.datasets.pairs import ParallelDataset as ParallelDataset
    from attnlab.datasets.pictures import ImageDataset as ImageDataset
    from attnlab.datasets.tagged import TaggedDataset as TaggedDataset
    from attnlab.datasets.texts import TextDataset as TextDataset
    from attnlab.errors import AttnlabError as AttnlabError
    from attnlab.evaluation.ablation import ablate as ablate
    from attnlab.evaluation.evaluator import Evaluator as Evaluator
    from attnlab.evaluation.pruning_curves import pruning_curve as pruning_curve
    from attnlab.evaluation.reports import report as report
    from attnlab.heads.maps import AttentionMaps as AttentionMaps
    from attnlab.heads.maps import CrossMaps as CrossMaps
    from attnlab.heads.maps import Seq2SeqMaps as Seq2SeqMaps
    from attnlab.heads.settings import HeadSettings as HeadSettings
    from attnlab.heads.settings import Seq2SeqSettings as Seq2SeqSettings
    from attnlab.language.loading import load_language_model as load_language_model
    from attnlab.language.model import LanguageModel as LanguageModel
    from attnlab.language.training import train_language_model as train_language_model
    from attnlab.language.writer import Writer as Writer
    from attnlab.show import plots as plots
    from attnlab.show.views import attention_view as attention_view
    from attnlab.show.views import translation_view as translation_view
    from attnlab.show.widgets.ask_desk import AskDesk as AskDesk
    from attnlab.show.widgets.balance_meter import BalanceMeter as BalanceMeter
    from attnlab.show.widgets.budget_explorer import BudgetExplorer as BudgetExplorer
    from attnlab.show.widgets.control_room import ControlRoom as ControlRoom
    from attnlab.show.widgets.flow_desk import FlowDesk as FlowDesk
    from attnlab.show.widgets.head_mixer import HeadMixer as HeadMixer
    from attnlab.show.widgets.history_desk import HistoryDesk as HistoryDesk
    from attnlab.show.widgets.mask_desk import MaskDesk as MaskDesk
    from attnlab.show.widgets.patch_desk import PatchDesk as PatchDesk
    from attnlab.show.widgets.peeler import Peeler as Peeler
    from attnlab.show.widgets.query_desk import QueryDesk as QueryDesk
    from attnlab.show.widgets.reading_desk import ReadingDesk as ReadingDesk
    from attnlab.show.widgets.sampling_desk import SamplingDesk as SamplingDesk
    from attnlab.show.widgets.softmax_desk import SoftmaxDesk as SoftmaxDesk
    from attnlab.show.widgets.training_curve import TrainingCurve as TrainingCurve
    from attnlab.show.widgets.training_monitor import TrainingMonitor as TrainingMonitor
    from attnlab.show.widgets.translation_desk import TranslationDesk as TranslationDesk
    from attnlab.show.widgets.tuner_desk import TunerDesk as TunerDesk
    from attnlab.tagging.tagger import Tagger as Tagger
    from attnlab.tagging.tagger import load_tagger as load_tagger
    from attnlab.tagging.training import finetune_tagger as finetune_tagger
    from attnlab.transformer.encoder_decoder import Seq2SeqTransformer as Seq2SeqTransformer
    from attnlab.transformer.subwords import Subwords as Subwords
    from attnlab.translation.training import train_translator as train_translator
    from attnlab.translation.translator import Translator as Translator
    from attnlab.translation.translator import load_translator as load_translator
    from attnlab.vision.image_classifier import ImageClassifier as ImageClassifier
    from attnlab.vision.loading import load_image_classifier as load_image_classifier


@cache
def _exports() -> dict[str, str]:
    """Every public name and the module it comes from, read off the imports above."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    lines = [line for line in block.body if isinstance(line, ast.ImportFrom)]
    return {name.name: str(line.module) for line in lines for name in line.names}


def __getattr__(name: str) -> Any:
    if name.startswith("__") or name not in _exports():
        raise AttributeError(f"module 'attnlab' has no attribute {name!r}")
    from attnlab.errors import needs

    with needs("lab"):
        module = importlib.import_module(_exports()[name])
        found = vars(module).get(name)
        return importlib.import_module(f"{module.__name__}.{name}") if found is None else found


def __dir__() -> list[str]:
    return sorted([*_exports(), "__version__"])
