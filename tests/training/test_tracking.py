"""TensorBoard reads what a run wrote."""

import sys

import pytest
from each_step import EachStep
from tiny_training import run

from attnlab.errors import AttnlabError
from attnlab.training import Recipe, TensorBoard


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(one.step, one.value) for one in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_shows_every_noted_step_and_epoch(tmp_path):
    _, history = run(callbacks=[TensorBoard(tmp_path)])
    seen = read(tmp_path)
    assert seen["step/loss"] == [(row["step"], pytest.approx(row["loss"])) for row in history.steps]
    assert seen["epoch/dev_accuracy"] == [
        (row["epoch"], pytest.approx(row["dev_accuracy"])) for row in history.rows
    ]
    assert set(seen) >= {"step/learning_rate", "step/tokens_per_second", "epoch/train_loss"}


def test_a_run_that_went_on_shows_once(tmp_path):
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=1e-2)

    class Killed(Exception):
        pass

    def kill(run):
        if run.step == 16:
            raise Killed

    board = tmp_path / "board"
    with pytest.raises(Killed):
        run(
            recipe=recipe,
            folder=tmp_path / "run",
            callbacks=[TensorBoard(board), EachStep(kill)],
        )
    _, history = run(
        recipe=recipe, folder=tmp_path / "run", resume=True, callbacks=[TensorBoard(board)]
    )
    assert [step for step, _ in read(board)["step/loss"]] == [row["step"] for row in history.steps]


def test_without_tensorboard_the_cure_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(AttnlabError, match=r"pip install 'attnlab\[tracking\]'"):
        TensorBoard(tmp_path)
