"""Training: the loop against its oracles, and runs that are stopped, killed or short of memory."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from each_step import EachStep
from safetensors.torch import load_file
from tiny_models import tiny
from tiny_training import DATA, LABELS, LENGTHS, Tiny, batch, measure, run, same_weights
from torch import nn
from transformers import Trainer, TrainingArguments, get_linear_schedule_with_warmup

from attnlab.errors import AttnlabError, AttnlabWarning, on_the_command_line
from attnlab.training import (
    CHECKPOINT,
    Callback,
    History,
    Interrupted,
    ProgressBar,
    Recipe,
    linear_schedule,
    parameter_groups,
    shuffled_batches,
    train,
)

HERE = Path(__file__).parent
MODULES = os.pathsep.join([str(HERE), *filter(None, sys.path)])  # what other processes import from


# --- The loop ------------------------------------------------------------------------------------


def test_it_learns_and_tells_what_it_saw():
    told = []
    _, history = run(
        recipe=Recipe(epochs=8, batch_size=8, learning_rate=1e-2),
        callbacks=[EachStep(lambda run: told.append((run.step, run.steps, run.status)))],
    )
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert [row["epoch"] for row in history.rows] == list(range(1, 9))
    assert told[-1][:2] == (56, 56)
    assert "epoch 8 of 8, loss" in told[-1][2]
    steps = history.steps_frame()
    assert list(steps.columns) == [
        "step",
        "loss",
        "gradient_norm",
        "learning_rate",
        "tokens_per_second",
        "memory_mb",
        "seconds",
    ]
    assert len(steps) == 56
    assert history.epochs == 8
    assert history.trainable == sum(one.numel() for one in Tiny().parameters())
    assert (steps["memory_mb"] > 10).all()
    assert steps["seconds"].is_monotonic_increasing


def test_callbacks_are_told_in_their_order_and_of_the_end_even_of_a_run_that_fails(capsys):
    told = []

    class Noting(Callback):
        def on_start(self, run):
            told.append(("start", run.step))

        def on_step(self, run):
            told.append(("step", run.step))

        def on_epoch(self, run):
            told.append(("epoch", run.epoch))

        def on_end(self, run):
            told.append(("end", run.epoch))

    def fail(run):
        if run.step == 3:
            raise ZeroDivisionError

    recipe = Recipe(epochs=2, batch_size=25)
    run(recipe=recipe, callbacks=[Noting(), ProgressBar()])
    assert told == [
        ("start", 0),
        ("step", 1),
        ("step", 2),
        ("epoch", 1),
        ("step", 3),
        ("step", 4),
        ("epoch", 2),
        ("end", 2),
    ]
    assert "epoch 2 of 2, loss" in capsys.readouterr().err
    told.clear()
    with pytest.raises(ZeroDivisionError):
        run(recipe=recipe, callbacks=[Noting(), ProgressBar(), EachStep(fail)])
    assert told[-2:] == [("step", 3), ("end", 1)]


def test_one_step_is_what_it_says_by_hand():
    """AdamW with clipping and weight decay on matrices only, written out with PyTorch's parts."""
    recipe = Recipe(
        epochs=1, batch_size=50, learning_rate=0.1, warmup=0, weight_decay=0.3, max_grad_norm=0.05
    )
    model, _ = run(Tiny(dropout=0), recipe)
    reference = Tiny(dropout=0)
    reference(DATA, LABELS).loss.backward()
    nn.utils.clip_grad_norm_(reference.parameters(), 0.05)
    matrices = [one for one in reference.parameters() if one.dim() > 1]
    rest = [one for one in reference.parameters() if one.dim() == 1]
    torch.optim.AdamW(matrices, lr=0.1, weight_decay=0.3).step()
    torch.optim.AdamW(rest, lr=0.1, weight_decay=0).step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    groups = parameter_groups(model, 0.3)
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_layers_on_top_learn_as_many_times_faster_as_asked():
    """The first step of Adam moves every weight by the learning rate, whatever its gradient."""
    recipe = Recipe(
        epochs=1, batch_size=50, learning_rate=1e-3, head_lr_multiplier=10, warmup=0, weight_decay=0
    )
    model, before = Tiny(dropout=0), Tiny(dropout=0)
    run(model, recipe, top=["outer.weight", "outer.bias"])
    moved = {
        name: float((one - other).abs().max())
        for (name, one), other in zip(model.named_parameters(), before.parameters(), strict=True)
    }
    for name, distance in moved.items():
        assert distance == pytest.approx(1e-2 if "outer" in name else 1e-3, rel=0.02), name
    with pytest.raises(AttnlabError, match="above 0"):
        Recipe(head_lr_multiplier=0)


def test_in_float16_it_learns_the_same_and_small_gradients_are_not_lost():
    recipe = Recipe(epochs=8, batch_size=8, learning_rate=1e-2)
    exact, half = (
        run(Tiny(dropout=0), recipe, dtype=one)[1] for one in (torch.float32, torch.float16)
    )
    assert half.rows[-1]["train_loss"] == pytest.approx(exact.rows[-1]["train_loss"], rel=0.05)
    shrunk = Tiny(dropout=0)
    before = shrunk.inner.weight.clone()

    def tiny_loss(outputs, inputs):  # its gradients are below what float16 can hold
        return 1e-5 * outputs.loss

    run(shrunk, recipe, dtype=torch.float16, objective=tiny_loss)
    assert not shrunk.inner.weight.allclose(before, atol=1e-3)


def test_a_step_too_large_for_float16_is_left_out():
    calls = []

    def huge_first(outputs, inputs):
        calls.append(1)
        return outputs.loss * (1e4 if len(calls) == 1 else 1)

    weights, taken = [], []
    model = Tiny(dropout=0)
    start = model.inner.weight.detach().clone()

    def seen(run):
        weights.append(model.inner.weight.detach().clone())
        if not run.left_out:
            taken.append(run.step)

    run(
        model,
        Recipe(epochs=1, batch_size=8, learning_rate=1e-2),
        dtype=torch.float16,
        objective=huge_first,
        callbacks=[EachStep(seen)],
    )
    assert taken == [2, 3, 4, 5, 6, 7]
    assert weights[0].equal(start)
    assert not weights[1].equal(start)
    assert all(one.isfinite().all() for one in weights)


def test_a_run_is_the_one_of_hugging_faces_trainer(tmp_path):
    """The same batches through Trainer and through our loop end in the same weights."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 60, (40, 9), generator=generator)
    labels = torch.randint(0, 3, (40,), generator=generator)

    def take(indices):
        return {
            "input_ids": ids[indices],
            "attention_mask": (ids[indices] > 0).long(),
            "labels": labels[indices],
        }

    recipe = Recipe(
        epochs=2, batch_size=8, learning_rate=1e-3, warmup=0.0, weight_decay=0.1, seed=5
    )
    mine, theirs = (without_dropout(tiny("bert")) for _ in range(2))
    history = train(mine, [9] * 40, take, rising(), recipe)
    orders = [
        shuffled_batches([9] * 40, 8, np.random.default_rng([5, epoch])) for epoch in range(2)
    ]

    class InOurOrder(Trainer):
        def get_train_dataloader(self):
            return [take(indices) for epoch in orders for indices in epoch]

    arguments = TrainingArguments(
        output_dir=tmp_path,
        num_train_epochs=1,  # both epochs, as one row of batches
        learning_rate=1e-3,
        weight_decay=0.1,
        max_grad_norm=1.0,
        warmup_steps=0,
        lr_scheduler_type="linear",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    done = InOurOrder(theirs, arguments).train()
    losses = [row["loss"] for row in history.steps]
    assert done.training_loss == pytest.approx(np.mean(losses), rel=1e-4)
    for name, parameter in mine.named_parameters():
        # a key's bias shifts all scores of a query alike: its gradient is rounding
        if not name.endswith("key.bias"):
            assert torch.allclose(parameter, theirs.get_parameter(name), atol=1e-5), name


def rising():
    """A measure by which every epoch is better than the one before, so that the last is kept."""
    count = iter(range(99))
    return lambda: {"dev_accuracy": float(next(count)), "dev_loss": 0.0}


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return model


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_learning_rate_rises_to_the_top_and_falls_to_nothing_after_the_last_step(warmup):
    steps = 40
    rates = [linear_schedule(step, steps, warmup) for step in range(steps)]
    assert max(rates) == 1.0
    assert all(rate > 0 for rate in rates), "no step is wasted"
    assert linear_schedule(steps, steps, warmup) == 0
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, round(warmup * steps), steps)
    for step, rate in enumerate(rates):  # the same but for the warm-up, which starts one step on
        if step >= round(warmup * steps):
            assert rate == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_batches_hold_every_text_once_and_are_of_like_length():
    lengths = np.random.default_rng(0).integers(3, 60, 1000)
    batches = shuffled_batches(lengths, 32, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    padding = sum(len(one) * lengths[one].max() for one in batches) / lengths.sum()
    assert padding < 1.1  # batches in random order would pad by about 1.8


def test_buckets_of_one_batch_mix_batches_and_order_each_by_length():
    lengths = np.random.default_rng(0).integers(3, 60, 640)
    spread = {}
    for bucket in (1, 32):
        batches = shuffled_batches(lengths, 32, np.random.default_rng(1), bucket)
        assert sorted(np.concatenate(batches)) == list(range(640))
        assert all((np.diff(lengths[one]) >= 0).all() for one in batches)
        spread[bucket] = np.std([lengths[one].mean() for one in batches])
    assert spread[1] < spread[32] / 4  # every batch is like the whole
    recipes = [Recipe(epochs=1, batch_size=8, bucket_batches=bucket) for bucket in (1, 32)]
    assert not same_weights(*(run(recipe=recipe)[0] for recipe in recipes))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    recipes = [Recipe(epochs=1, batch_size=8, seed=seed) for seed in (3, 3, 4)]
    one, two, other = (run(recipe=recipe)[0] for recipe in recipes)
    assert same_weights(one, two)
    assert not same_weights(one, other)


def test_micro_batches_are_the_same_step_in_parts():
    whole, _ = run(Tiny(dropout=0), Recipe(epochs=2, batch_size=12))
    parts, _ = run(Tiny(dropout=0), Recipe(epochs=2, batch_size=12, micro_batches=5))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_best_epoch_is_kept_and_patience_ends_a_run_that_gets_worse():
    model, scores, seen = Tiny(), iter([0.5, 0.9, 0.6, 0.7, 0.8, 0.8]), []

    def fading():
        seen.append([one.clone() for one in model.parameters()])
        return {"dev_accuracy": next(scores), "dev_loss": 0.0}

    history = train(model, LENGTHS, batch, fading, Recipe(epochs=6, batch_size=8, patience=2))
    assert len(history.rows) == 4
    assert history.best["epoch"] == 2
    assert all(a.equal(b) for a, b in zip(model.parameters(), seen[1], strict=True))


@pytest.mark.parametrize(
    ("losses", "best"), [([1.46, 1.3, 1.22], 3), ([0.9, 0.7, 0.8], 2), ([1.0, 1.0, 1.0], 1)]
)
@pytest.mark.parametrize("choose_by", ["dev_accuracy", "dev_f1", "dev_chrf"])
def test_of_epochs_as_accurate_the_one_of_the_lowest_loss_is_kept(losses, best, choose_by):
    """Eight dev texts leave accuracy on a plateau while the model goes on learning."""
    model, left, seen = Tiny(), iter(losses), []

    def level():
        seen.append([one.clone() for one in model.parameters()])
        return {"dev_accuracy": 0.375, choose_by: 0.375, "dev_loss": next(left)}

    history = train(
        model, LENGTHS, batch, level, Recipe(epochs=3, batch_size=8), choose_by=choose_by
    )
    assert history.best["epoch"] == best
    assert all(a.equal(b) for a, b in zip(model.parameters(), seen[best - 1], strict=True))


def test_without_a_dev_loss_the_first_of_equals_is_best():
    rows = [{"epoch": epoch, "dev_accuracy": 0.5} for epoch in (1, 2)]
    assert History(rows=rows).best["epoch"] == 1


def losses_of(*losses):
    return History(steps=[{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)])


def test_the_first_step_at_which_a_mean_of_losses_is_higher_than_another_runs():
    calm, wild = losses_of(1, 1, 1, 1, 1, 1), losses_of(1, 2, 1, 2, 2, 1)
    assert wild.losses(2).tolist()[1:] == [1.5, 1.5, 1.5, 2, 1.5]
    assert wild.first_above(calm, by=0.75) == 2
    assert wild.first_above(calm, by=0.75, window=2) == 5
    assert np.isnan(wild.first_above(calm, by=1))
    flat, restless = losses_of(1.6, 1.6, 1.6, 1.6), losses_of(2, 1, 2, 1)
    assert flat.first_above(restless, by=0.3) == 2
    assert np.isnan(flat.first_above(restless, by=0.3, window=2))  # both are means
    assert np.isnan(History().first_above(calm, by=0.1, window=9))


# --- Stopped, killed, short of memory ------------------------------------------------------------


def test_a_run_that_is_stopped_at_any_step_ends_as_if_it_never_had_been(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    whole, whole_history = run()
    for stop in (1, 7, 8, 20):
        folder = tmp_path / str(stop)

        def ctrl_c(run, stop=stop):
            if run.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted, match=rf"after step {stop} of 21.*resume=True"):
            run(folder=folder, callbacks=[EachStep(ctrl_c)])
        model, history = run(folder=folder, resume=True)
        assert same_weights(model, whole)
        for mine, theirs in zip(history.rows, whole_history.rows, strict=True):
            assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
        assert [row["loss"] for row in history.steps] == [
            row["loss"] for row in whole_history.steps
        ]
    assert signal.getsignal(signal.SIGINT) is before


def test_so_many_steps_end_inside_an_epoch_which_is_measured_too():
    """50 texts in batches of 10 are 5 steps an epoch, so 8 are one epoch and 3 steps."""

    def ran(max_steps):
        recipe = Recipe(epochs=3, batch_size=10, learning_rate=1e-2, max_steps=max_steps)
        return run(recipe=recipe)

    history = ran(8)[1]
    rates = [step["learning_rate"] for step in history.steps]
    warmup = Recipe().warmup  # the rate falls to nothing within these steps
    assert rates == pytest.approx([1e-2 * linear_schedule(step, 8, warmup) for step in range(8)])
    assert [row["epoch"] for row in history.rows] == [1, 2]
    losses = [step["loss"] for step in history.steps]
    assert history.rows[0]["train_loss"] == pytest.approx(np.mean(losses[:5]), rel=1e-5)
    assert history.rows[1]["train_loss"] == pytest.approx(np.mean(losses[5:]), rel=1e-5)
    for steps in (5, 10):  # no empty epoch follows a whole one
        assert len(ran(steps)[1].rows) == steps // 5
    assert same_weights(ran(99)[0], ran(None)[0])


def test_a_run_of_so_many_steps_ends_the_same_from_wherever_it_was_stopped(tmp_path):
    few = Recipe(epochs=3, batch_size=10, learning_rate=1e-2, max_steps=8)
    whole, whole_history = run(recipe=few)
    for stop in range(1, 9):

        def ctrl_c(run, stop=stop):
            if run.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        folder = tmp_path / str(stop)
        with pytest.raises(Interrupted, match=rf"after step {stop} of 8"):
            run(recipe=few, folder=folder, callbacks=[EachStep(ctrl_c)])
        model, history = run(recipe=few, folder=folder, resume=True)
        assert same_weights(model, whole)
        for mine, theirs in zip(history.rows, whole_history.rows, strict=True):
            assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_weights(tmp_path):
    """A real process, SIGKILL at some moment, again and again until one run gets through."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "import torch\n"
        "from pathlib import Path\n"
        "from safetensors.torch import save_file\n"
        "from each_step import EachStep\n"
        "from attnlab.training import checkpoint\n"
        "from test_training import CHECKPOINT, Recipe, run\n"
        "checkpoint.CHECKPOINT_SECONDS = 0.0\n"
        "folder = Path(sys.argv[1])\n"
        "resume = (folder / CHECKPOINT).exists()\n"
        "print('from a checkpoint' if resume else 'from the start', flush=True)\n"
        "recipe = Recipe(epochs=6, batch_size=4, learning_rate=1e-2)\n"
        "slow = EachStep(lambda run: time.sleep(0.02))\n"
        "model, _ = run(recipe=recipe, folder=folder, resume=resume, callbacks=[slow])\n"
        "save_file(model.state_dict(), folder / 'end.safetensors')\n"
    )
    environment = os.environ | {"PYTHONPATH": MODULES, "OMP_NUM_THREADS": "1"}
    began, killed = [], 0
    for attempt in range(20):
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "run")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        began.append(process.stdout.readline().strip())
        if attempt < 3:
            time.sleep(0.3 + 0.25 * attempt)
            process.kill()
        killed += process.wait() == -signal.SIGKILL
        if (tmp_path / "run" / "end.safetensors").exists():
            break
    assert killed >= 2
    assert "from a checkpoint" in began
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole, _ = run(recipe=Recipe(epochs=6, batch_size=4, learning_rate=1e-2))
    torch.set_num_threads(threads)
    ended = load_file(tmp_path / "run" / "end.safetensors")
    assert all(one.equal(ended[name]) for name, one in whole.state_dict().items())
    left = sorted(
        path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")
    )
    assert left == [CHECKPOINT, "end.safetensors"]


def test_another_run_is_not_taken_for_this_one(tmp_path):
    recipe = Recipe(epochs=2, batch_size=8)
    run(recipe=recipe, folder=tmp_path)
    with pytest.raises(AttnlabError, match=r"unfinished run.*resume=True"):
        run(recipe=recipe, folder=tmp_path)
    with pytest.raises(AttnlabError, match=r"batch_size was 8, is 4"):
        run(recipe=Recipe(epochs=2, batch_size=4), folder=tmp_path, resume=True)
    with pytest.raises(AttnlabError, match="to go on from"):
        run(recipe=recipe, folder=tmp_path / "elsewhere", resume=True)


def test_a_run_goes_on_in_the_number_format_it_began_in(tmp_path):
    run(folder=tmp_path, dtype="bfloat16")
    with pytest.raises(AttnlabError, match=r"in bfloat16.*in float32.*dtype='bfloat16'"):
        run(folder=tmp_path, dtype="float32", resume=True)
    with on_the_command_line(), pytest.raises(AttnlabError, match="--dtype bfloat16"):
        run(folder=tmp_path, dtype="float32", resume=True)
    run(folder=tmp_path, dtype=torch.bfloat16, resume=True)


def test_a_run_that_goes_on_while_the_machine_is_busy_ends_in_the_same_bits(tmp_path, monkeypatch):
    """Other work takes the processor and every look at the clock takes long."""
    from attnlab import device

    device.number_format.cache_clear()
    idle = device.number_format("cpu")
    whole, history = run(dtype=idle)

    def stop(run):
        if run.step == 9:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(folder=tmp_path, dtype=idle, callbacks=[EachStep(stop)])
    clock = time.perf_counter
    busy = threading.Event()

    def spin():
        while not busy.is_set():
            sum(range(1000))

    def slow():
        time.sleep(0.002 * random.random())
        return clock()

    monkeypatch.setattr(time, "perf_counter", slow)
    others = [threading.Thread(target=spin, daemon=True) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        device.number_format.cache_clear()
        model, again = run(folder=tmp_path, dtype=device.number_format("cpu"), resume=True)
    finally:
        busy.set()
        for thread in others:
            thread.join()
    assert same_weights(model, whole)
    assert [row["dev_loss"] for row in again.rows] == [row["dev_loss"] for row in history.rows]


def test_out_of_memory_halves_what_is_computed_at_once_and_says_so():
    class Small(Tiny):
        most = 3

        def forward(self, x, labels):
            if self.training and len(x) > self.most:
                raise torch.OutOfMemoryError("too many")
            return super().forward(x, labels)

    recipe = Recipe(epochs=1, batch_size=8)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small, _ = run(Small(dropout=0), recipe)
    said = [str(one.message) for one in told if issubclass(one.category, AttnlabWarning)]
    assert len(said) == 2
    assert "in 4 parts, same steps" in said[-1]
    plain, _ = run(Tiny(dropout=0), recipe)
    for one, other in zip(small.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    Small.most = 0
    with (
        pytest.raises(AttnlabError, match="Out of memory with 1 texts at a time"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        run(Small(), recipe)


def test_a_loss_that_is_not_a_number_stops_with_what_to_try():
    def broken(indices):
        return {"x": DATA[indices] * float("nan"), "labels": LABELS[indices]}

    model = Tiny()
    with pytest.raises(AttnlabError, match=r"nan at step 1 of 7 .*learning rate below 0.01"):
        train(
            model,
            LENGTHS,
            broken,
            measure(model),
            Recipe(epochs=1, batch_size=8, learning_rate=1e-2),
        )
    assert same_weights(model, Tiny())


def test_two_processes_train_like_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from accelerate import PartialState\n"
        "from safetensors.torch import save_file\n"
        "from test_training import Recipe, Tiny, run\n"
        "recipe = Recipe(epochs=2, batch_size=7, learning_rate=1e-2)\n"
        "model, history = run(Tiny(dropout=0), recipe)\n"
        "if PartialState().is_main_process:\n"
        "    save_file(model.state_dict(), sys.argv[1])\n"
        "    loss = history.rows[-1]['train_loss']\n"
        "    print('processes', PartialState().num_processes, 'loss', loss)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    environment = os.environ | {
        "PYTHONPATH": MODULES,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "1",
    }
    done = subprocess.run(
        [*command, str(script), str(tmp_path / "two.safetensors")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "processes 2" in done.stdout
    one, history = run(Tiny(dropout=0), Recipe(epochs=2, batch_size=7, learning_rate=1e-2))
    two = load_file(tmp_path / "two.safetensors")
    for name, tensor in one.state_dict().items():
        assert torch.allclose(tensor, two[name], atol=1e-4), name
    assert float(done.stdout.split()[-1]) == pytest.approx(history.rows[-1]["train_loss"], abs=1e-4)


# --- What is written down ------------------------------------------------------------------------


def test_a_history_is_saved_and_read_again(tmp_path):
    _, history = run()
    again = History.load(history.save(tmp_path / "history.json"))
    assert again == history
    table = history.save(tmp_path / "history.csv").read_text().splitlines()
    assert table[0] == "epoch,train_loss,dev_accuracy,dev_loss,seconds"
    assert len(table) == 4
    with pytest.raises(AttnlabError, match=r"neither .csv nor .json"):
        history.save(tmp_path / "history.xls")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"micro_batches": 0}, "micro_batches is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup": 2}, "warmup 2"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_a_recipe_without_sense_is_refused(settings, words):
    with pytest.raises(AttnlabError, match=words):
        Recipe(**settings)
