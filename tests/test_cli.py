"""Commands as a shell sees them: output, exit code, and an error that is one message."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from command import attnlab

import attnlab as al
from attnlab.course import notebooks


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "attnlab", "ablate", "--sentences", "none"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    assert "python -m attnlab ablate" in run.stderr


def test_help_lists_the_commands_with_examples():
    overview = attnlab("--help")
    assert overview.returncode == 0
    commands = (
        "doctor fetch lab finetune search ablate compress budget export write start check "
        "assignment grade scores similar slides"
    )
    for command in commands.split():
        assert command in overview.stdout
        assert f"attnlab {command}" in attnlab(command, "--help").stdout
    assert "attnlab notebooks build --check" in attnlab("notebooks", "build", "--help").stdout


def test_doctor_finds_everything_here():
    run = attnlab("doctor")
    assert run.returncode == 0, run.stdout + run.stderr
    for word in ("torch", "bertviz", "data", "proved by self_check", "Chromium", "number format"):
        assert word in run.stdout
    assert "missing" not in run.stdout


def test_doctor_names_the_cure_and_fails_where_the_course_cannot_run(tmp_path):
    run = attnlab("doctor", ATTNLAB_CACHE=str(tmp_path))
    assert run.returncode == 1
    assert "attnlab fetch" in run.stdout


def test_optional_parts_only_warn(tmp_path):
    run = attnlab("doctor", PATH=str(tmp_path))  # no Chromium there
    assert run.returncode == 0
    assert "apt-get install chromium" in run.stdout


def test_fetch_verifies_and_counts():
    run = attnlab("fetch", "movie-sentiment", "tweet-sentiment")
    assert run.returncode == 0
    assert "2 data sets, 2 MB, verified" in run.stdout


def test_fetching_waits_for_no_torch():
    """Its import takes seconds, and the first command of a newcomer needs none of it."""
    code = "import sys; sys.modules['torch'] = None\nfrom attnlab.cli import main\nmain({})"
    for arguments in (["fetch", "movie-sentiment"], ["--help"], ["fetch", "--help"]):
        command = [sys.executable, "-c", code.format(arguments)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


def test_an_error_is_one_message_and_exit_code_1():
    run = attnlab("fetch", "movie-sentimant")
    assert run.returncode == 1
    assert "Did you mean 'movie-sentiment'" in run.stderr
    assert "Traceback" not in run.stderr + run.stdout


def test_a_wrong_option_is_exit_code_2():
    assert attnlab("ablate", "--sentences", "none").returncode == 2


def test_a_broken_profile_says_what_there_is():
    run = attnlab("doctor", ATTNLAB_PROFILE="cpuu")
    assert run.returncode == 1
    assert "Did you mean 'cpu'" in run.stderr


def test_ablate_writes_a_table(tmp_path):
    run = attnlab("ablate", "--sentences", 4, "--to", tmp_path / "ablation.csv")
    assert run.returncode == 0, run.stderr
    assert len(pd.read_csv(tmp_path / "ablation.csv")) == 72
    run = attnlab("ablate", "--sentences", 4, "--to", tmp_path / "ablation.csv")
    assert run.returncode == 1
    assert "--overwrite" in run.stderr


def test_finetune_on_ones_own_csv(tmp_path, movies):
    few = movies.train.sample(80)
    few.to_frame()[["text", "label"]].to_csv(tmp_path / "mine.csv", index=False)
    with (tmp_path / "mine.csv").open("a") as file:
        file.write(",positive\n")
    command = ["finetune", tmp_path / "mine.csv", "--epochs", 1, "--out", tmp_path / "out"]
    assert "--drop-missing" in attnlab(*command).stderr
    more = ["--max-length", 16, "--tensorboard", tmp_path / "board", "--drop-missing"]
    run = attnlab(*command, *more)
    assert run.returncode == 0, run.stderr
    assert "test" in run.stdout
    mine = al.load_classifier(tmp_path / "out")
    assert mine.label_names == ["negative", "positive"]
    assert mine.history.rows[0]["epoch"] == 1
    assert mine.max_length == 16
    assert list((tmp_path / "board").glob("events.*"))


def test_finetune_says_what_was_read_and_when_nothing_was_learned(tmp_path, tiny_base):
    lines = [f"film {row},{'good' if row % 8 else 'bad'}" for row in range(160)]
    (tmp_path / "mine.csv").write_text("\n".join(["text;label", *lines]).replace(",", ";"))
    command = ["finetune", tmp_path / "mine.csv", "--epochs", 1, "--out", tmp_path / "out"]
    command += ["--base", tiny_base, "--method", "frozen"]
    run = attnlab(*command)
    assert run.returncode == 0, run.stderr
    assert "160 texts (20 'bad', 140 'good'); train 128, dev 16, test 16" in run.stdout
    assert "dev 87.5% (16 texts); always 'good': 87.5%" in run.stdout
    assert "no better than always answering 'good': it has learned nothing" in run.stdout
    assert "--epochs 10" in run.stdout
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    run = attnlab(*command)
    assert run.returncode == 1
    assert "finished model" in run.stderr
    assert "--overwrite" in run.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_the_readmes_commands_train_on_ones_own_texts_and_make_that_small(
    tmp_path, movies, monkeypatch
):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (command,) = re.findall(r"`attnlab (finetune reviews.csv .*?)`", readme)
    (smaller,) = re.findall(r"`attnlab (compress runs/mine .*?)`", readme)
    monkeypatch.chdir(tmp_path)
    movies.train.sample(60).to_frame()[["text", "label"]].to_csv("reviews.csv", index=False)
    run = attnlab(*command.split())
    assert run.returncode == 0, run.stderr
    assert len(al.load_classifier("runs/mine").label_names) == 2
    run = attnlab(*smaller.split())
    assert run.returncode == 0, run.stderr
    assert al.load_classifier("small").layers == 3


@pytest.mark.thorough
def test_two_processes_fine_tune_together_and_one_of_them_speaks(tmp_path, movies):
    """The same command under torchrun: every process takes its share of each batch."""
    few = movies.train.sample(80)
    few.to_frame()[["text", "label"]].to_csv(tmp_path / "mine.csv", index=False)
    command = [
        "-m",
        "attnlab",
        "finetune",
        "mine.csv",
        "--method",
        "frozen",
        "--epochs",
        "2",
        "--out",
    ]
    torchrun = Path(sys.executable).with_name("torchrun")
    losses = []
    for launcher, folder in (
        ([sys.executable], "one"),
        ([torchrun, "--nproc_per_node", "2"], "two"),
    ):
        run = subprocess.run(
            [*launcher, *command, folder],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.count("kept epoch") == 1
        assert run.stdout.count("written to") == 1
        rows = [
            line.split() for line in run.stdout.splitlines() if line.strip()[:2] in ("1 ", "2 ")
        ]
        losses.append([float(row[1]) for row in rows])
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # dropout draws differ
    one, two = (al.load_classifier(tmp_path / name) for name in ("one", "two"))
    text = ["A joy from start to finish."]
    assert two.predict(text).probabilities == pytest.approx(
        one.predict(text).probabilities, abs=0.03
    )


@pytest.fixture
def lab(tmp_path):
    """``attnlab lab`` on this clone: its process, and what fetches from it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JUPYTER_TOKEN": "t", "JUPYTER_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "attnlab", "lab", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def fetch(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}?token=t").read().decode()

    try:
        for _ in range(300):
            assert process.poll() is None
            with contextlib.suppress(urllib.error.URLError):
                fetch("api")
                break
            time.sleep(0.2)
        yield process, fetch
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_lab_opens_jupyterlab_on_the_first_notebook_and_ends_with_its_process(lab):
    process, fetch = lab
    assert "mixing desk" in fetch("api/contents/00_start_here.ipynb")
    page = fetch("lab/tree/00_start_here.ipynb")
    left_out = re.search(r'"disabledExtensions": \[(.*?)\]', page)[1]
    assert '"@jupyterlab/apputils-extension:announcements"' in left_out, "a pop-up asks about news"
    listed = {entry["name"] for entry in json.loads(fetch("api/contents"))["content"]}
    assert "00_start_here.ipynb" in listed
    assert not listed & {"solutions", "src"}, "the solutions lie on top of a learner's list"

    process.terminate()  # this process alone, as whoever knows its number would
    process.wait(20)
    with pytest.raises(urllib.error.URLError):
        fetch("api")


def test_lab_says_when_a_notebook_is_not_there():
    run = attnlab("lab", "99_nothing.ipynb")
    assert run.returncode == 1
    said = " ".join(run.stderr.split())
    assert "There is no notebook" in said
    assert "There are: 00_start_here.ipynb, 01_attention_maths.ipynb, " in said


def test_a_folder_of_ones_own_is_made_and_kept(tmp_path):
    own = tmp_path / "course"
    run = attnlab("start", own)
    assert run.returncode == 0, run.stderr
    assert f"attnlab lab --folder {own}" in run.stdout
    (own / "01_attention_maths.ipynb").write_text("mine")
    run = attnlab("start", own)
    assert "kept as they are: 00_start_here.ipynb, 01_attention_maths.ipynb" in run.stdout
    assert "added" not in run.stdout
    assert (own / "01_attention_maths.ipynb").read_text() == "mine"
    assert "There is no notebook" in attnlab("lab", "--folder", tmp_path).stderr


def test_strange_names_of_folders_are_said_as_they_are(tmp_path):
    own = tmp_path / "my course [1]"
    run = attnlab("start", own)
    assert run.returncode == 0, run.stderr
    assert f"attnlab lab --folder '{own}'" in run.stdout
    run = attnlab("start", own / "00_start_here.ipynb" / "below")
    assert run.returncode == 1
    assert "cannot be made" in run.stderr


def test_points_of_a_finished_notebook_are_printed(tmp_path):
    answers = (
        '# %% exercise="entropy" points=1\ndef entropy(weights):\n    ### BEGIN SOLUTION\n'
        "    return weights.sum(-1)\n    ### END SOLUTION\n\n"
        '# %% check="entropy"\nal.checks.entropy(entropy)\n'
    )
    source = "# %%\nimport torch\nimport attnlab as al\n\n" + answers
    finished = notebooks.solution(notebooks.read(source))
    (tmp_path / "mine.ipynb").write_text(notebooks.as_text(finished))
    run = attnlab("check", tmp_path / "mine.ipynb")
    assert run.returncode == 0, run.stderr
    assert re.search(r"entropy +0 +1 +\w", run.stdout), "a wrong answer, and why"
    assert re.search(r"^0 of \d+ points$", run.stdout, re.M)
    assert "100" in run.stderr or "done" in run.stderr, "how far it is"


def test_an_assignment_is_made_and_its_options_are_checked(tmp_path):
    run = attnlab(
        "assignment", "01", "--out", tmp_path / "c", "--only", "entropy", "--points", "entropy=4"
    )
    assert run.returncode == 0, run.stderr
    assert f"attnlab grade {tmp_path / 'c'}" in run.stdout
    run = attnlab("assignment", "01", "--out", tmp_path / "d", "--points", "entropy")
    assert run.returncode == 1
    assert "softmax=5" in run.stderr


def test_notebooks_that_match_are_said_to():
    run = attnlab("notebooks", "build", "--check", "01")
    assert run.returncode == 0, run.stderr
    assert "all notebooks match" in run.stdout


def test_cures_are_printed_whole(tmp_path):
    run = attnlab("ablate", "--data", tmp_path / "[bold]mine.csv")
    assert run.returncode == 1
    assert "[bold]mine.csv" in run.stderr  # brackets are no mark-up here
    assert "no labelled texts" in attnlab("ablate", "--data", "interface-fr").stderr
