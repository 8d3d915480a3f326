"""Trackers show what a run wrote, and a table puts runs side by side."""

import sys
import types

import pytest
from each_step import EachStep
from tiny_training import run

from attnlab.errors import AttnlabError
from attnlab.training import History, MLflow, Recipe, TensorBoard, WeightsAndBiases, history_table


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


def test_mlflow_shows_every_noted_step_and_epoch_and_the_recipe(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=1e-2)
    _, history = run(recipe=recipe, callbacks=[MLflow("trials", "first")])
    client = mlflow.MlflowClient()
    trial = client.get_experiment_by_name("trials").experiment_id
    (found,) = client.search_runs([trial])
    assert found.info.run_name == "first"
    assert found.info.status == "FINISHED"
    assert found.data.params["learning_rate"] == "0.01"
    for name, rows, kind in (
        ("step/loss", history.steps, "step"),
        ("epoch/dev_accuracy", history.rows, "epoch"),
    ):
        seen = client.get_metric_history(found.info.run_id, name)
        column = name.split("/")[1]
        assert [(one.step, one.value) for one in seen] == [
            (row[kind], pytest.approx(row[column])) for row in rows
        ]


def test_weights_and_biases_get_every_noted_step_and_epoch_and_the_recipe(tmp_path, monkeypatch):
    class Run:
        def __init__(self):
            self.logged, self.by, self.finished = [], {}, False

        def define_metric(self, name, step_metric):
            self.by[name] = step_metric

        def log(self, values):
            self.logged.append(values)

        def finish(self):
            self.finished = True

    made, board = {}, Run()
    fake = types.SimpleNamespace(init=lambda **options: made.update(options) or board)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    _, history = run(callbacks=[WeightsAndBiases("trials", mode="offline")])
    assert made["project"] == "trials"
    assert made["mode"] == "offline"
    assert made["config"]["batch_size"]
    assert board.by == {"step/*": "step", "epoch/*": "epoch"}
    assert board.finished
    steps = [values for values in board.logged if "step" in values]
    assert [(one["step"], one["step/loss"]) for one in steps] == [
        (row["step"], row["loss"]) for row in history.steps
    ]
    epochs = [values for values in board.logged if "epoch" in values]
    assert [one["epoch/dev_accuracy"] for one in epochs] == [
        row["dev_accuracy"] for row in history.rows
    ]


@pytest.mark.parametrize(
    ("module", "make", "cure"),
    [
        ("torch.utils.tensorboard", lambda: TensorBoard("runs"), r"'attnlab\[tracking\]'"),
        ("mlflow", MLflow, "'mlflow-skinny'"),
        ("wandb", WeightsAndBiases, "'wandb'"),
    ],
)
def test_a_tracker_that_is_not_installed_names_the_cure(monkeypatch, module, make, cure):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AttnlabError, match=f"pip install {cure}"):
        make()


def test_a_table_puts_runs_side_by_side_by_their_best_epoch():
    worse = {"epoch": 1, "train_loss": 0.6, "dev_accuracy": 0.8, "dev_loss": 0.4, "seconds": 4.0}
    better = {"epoch": 2, "train_loss": 0.3, "dev_accuracy": 0.9, "dev_loss": 0.2, "seconds": 8.0}
    first = History([worse, better], trainable=10, epochs=3)
    other = History([{"epoch": 1, "dev_loss": 0.5}], epochs=1, chosen_by="dev_loss")
    table = history_table({"first": first, "other": other})
    assert table.iloc[0].to_dict() == {"run": "first", "epochs": 3, "trainable": 10, **better}
    assert list(table["run"]) == ["first", "other"]
    assert table["dev_accuracy"].isna().tolist() == [False, True]
    assert list(table)[-3:] == ["train_loss", "trainable", "seconds"]
    with pytest.raises(AttnlabError, match="no history"):
        history_table({})
