"""What many tests share: the bundled classifier and its data."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("ATTNLAB_PROFILE", "ci")
os.environ.pop("ATTNLAB_LANG", None)  # tests compare English texts
# threads wait for each other without spinning: spinning ones slow a busy machine down
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib
import pytest
import torch
from thorough import THOROUGH
from tiny_models import CONFIGS

import attnlab as al

matplotlib.use("agg")

HERE = Path(__file__).parent
SLOW = {  # files whose tests train models, run notebooks or start other processes
    "balance/test_anomalies.py",
    "balance/test_knobs.py",
    "balance/test_meter.py",
    "balance/test_recorder.py",
    "balance/test_tuner.py",
    "classification/test_classifier.py",
    "classification/test_exporting.py",
    "classification/test_finetuning.py",
    "classification/test_loading.py",
    "classification/test_search.py",
    "compression/test_distilling.py",
    "compression/test_early_exits.py",
    "course/test_grading.py",
    "course/test_notebooks.py",
    "datasets/test_datasets.py",
    "datasets/test_news.py",
    "economics/test_formats.py",
    "economics/test_gates.py",
    "economics/test_search.py",
    "evaluation/test_ablation.py",
    "evaluation/test_entry_points.py",
    "evaluation/test_forward.py",
    "evaluation/test_measures.py",
    "evaluation/test_report.py",
    "heads/test_control.py",
    "show/widgets/test_balance_meter.py",
    "show/widgets/test_head_mixer.py",
    "show/widgets/test_still.py",
    "show/widgets/test_training_monitor.py",
    "tagging/test_tagging.py",
    "test_cli.py",
    "test_cli_budget.py",
    "test_cli_compress.py",
    "test_cli_data.py",
    "test_wheel.py",
    "training/test_training.py",
    "transformer/test_subwords.py",
    "translation/test_translation.py",
    "vision/test_asking.py",
    "vision/test_detecting.py",
    "vision/test_locating.py",
}


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).as_posix() in SLOW:
            item.add_marker("slow")
    # whole lessons first: a worker that begins one at the end lets the other wait for minutes
    items.sort(key=lambda item: "run_all_goes_through" not in item.name)
    if not THOROUGH and not any("::" in asked for asked in config.args):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The package as pip installs it, built from this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", folder]
    subprocess.run([*map(str, build), "."], cwd=HERE.parent, check=True, timeout=240)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def clf():
    return al.load_classifier("movie-sentiment")


@pytest.fixture(scope="session")
def movies():
    return al.datasets.load("movie-sentiment")


@pytest.fixture(scope="session")
def some(movies):
    """A few held-out sentences."""
    return movies.dev.sample(40)


@pytest.fixture(scope="session")
def tiny_base(clf, tmp_path_factory):
    """A folder with a tiny encoder and the real tokenizer, to fine-tune in no time."""
    config = CONFIGS["bert"]()
    config.vocab_size, config.max_position_embeddings = len(clf.tokenizer), 300
    folder = tmp_path_factory.mktemp("tiny-base")
    torch.manual_seed(0)
    model = type(clf.model)(config).bert
    with torch.no_grad():  # large enough that every head looks somewhere
        for parameter in model.encoder.parameters():
            parameter.mul_(6 if parameter.dim() > 1 else 1)
    model.save_pretrained(folder)
    clf.tokenizer.save_pretrained(folder)
    return folder
