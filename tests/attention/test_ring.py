"""Ring attention computes what one process would, whoever holds which tokens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from attnlab.attention import causal_mask, in_processes, scaled_dot_product_attention
from attnlab.attention.ring import _Ring, ring_attention, ring_join, ring_part
from attnlab.errors import AttnlabError, TensorError

pytestmark = pytest.mark.slow  # starts processes
TOKENS = 24


@pytest.fixture
def vectors():
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 3, TOKENS, 8)
    return query, key, torch.randn(2, 3, TOKENS, 5)


def pull(values):
    """Numbers that weight the context, so that each place of it has a gradient of its own."""
    return torch.linspace(-1, 1, values.numel()).reshape(values.shape)


def in_one_process(vectors, causal):
    query, key, value = (given.clone().requires_grad_() for given in vectors)
    mask = causal_mask(TOKENS) if causal else None
    context, _ = scaled_dot_product_attention(query, key, value, mask)
    (context * pull(context)).sum().backward()
    return [context.detach(), query.grad, key.grad, value.grad]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_forward_and_backward_are_those_of_one_process(count, vectors):
    cases = [(causal, order) for causal in (False, True) for order in ("zigzag", "contiguous")]

    def work(rank, vectors, weights):
        results = []
        for causal, order in cases:
            parts = [ring_part(given, order=order).requires_grad_() for given in vectors]
            context = ring_attention(*parts, causal=causal, order=order, tile=5)
            (context * ring_part(weights, order=order)).sum().backward()
            tensors = [context, *(part.grad for part in parts)]
            results.append([ring_join(tensor, order=order) for tensor in tensors])
        return results

    answers = in_processes(work, count, vectors, pull(vectors[2]), timeout=120)
    for number, (causal, _) in enumerate(cases):
        for expected, *found in zip(
            in_one_process(vectors, causal), *(answer[number] for answer in answers), strict=True
        ):
            for tensor in found:
                torch.testing.assert_close(tensor, expected, atol=1e-5, rtol=1e-5)


def test_one_process_alone_needs_no_group(vectors):
    query, key, value = (given.double().requires_grad_() for given in vectors)
    assert torch.autograd.gradcheck(
        lambda *parts: ring_attention(*parts, causal=True, tile=7),
        [given[:1, :1, :5].detach().requires_grad_() for given in (query, key, value)],
    )
    expected = scaled_dot_product_attention(*(given.double() for given in vectors))[0]
    torch.testing.assert_close(ring_attention(query, key, value), expected)


def test_half_precision_sums_in_single(vectors):
    half = [given.bfloat16() for given in vectors]
    expected = scaled_dot_product_attention(*(given.float() for given in half))[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = ring_attention(*half)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16(), atol=0, rtol=0.01)


def test_zigzag_gives_each_process_the_same_work_and_contiguous_does_not():
    def scores(rank, order):
        part = torch.empty(1, 8, 1)  # of 24 tokens in three processes
        ring = _Ring(rank, 3, order, None)
        found = [ring.blocks(part, part, owner, causal=True, tile=100) for owner in range(3)]
        return sum(
            (rows.stop - rows.start) * (columns.stop - columns.start)
            for blocks in found
            for rows, columns, _ in blocks
        )

    assert len({scores(rank, "zigzag") for rank in range(3)}) == 1
    first, second, third = (scores(rank, "contiguous") for rank in range(3))
    assert second == 2 * first and third == 3 * first


def test_parts_that_do_not_fit_are_refused_by_all_in_words():
    def work(rank):
        told = []
        part = torch.randn(1, 4 + 2 * rank, 8)
        for wrong in (
            lambda: ring_attention(part, part, part),
            lambda: ring_part(torch.zeros(1, 10, 2)),
        ):
            try:
                wrong()
            except TensorError as error:
                told.append(str(error))
        return told

    for lengths, padding in in_processes(work, 2):
        assert "query differs between the processes: (1, 4, 8), (1, 6, 8)" in lengths
        assert "into 4 stretches" in padding and "Pad them to 12" in padding


def test_what_cannot_be_asked_is_refused(monkeypatch):
    with pytest.raises(AttnlabError, match="Did you mean 'zigzag'"):
        ring_part(torch.zeros(1, 10, 2), order="zig-zag")
    with pytest.raises(TensorError, match="as many keys as queries"):
        ring_attention(torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(4, 2), causal=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AttnlabError, match="init_process_group"):
        ring_part(torch.zeros(1, 10, 2))


def test_a_killed_process_is_told_within_seconds_and_nothing_goes_on(tmp_path):
    def work(rank, folder):
        (folder / str(rank)).write_text(str(os.getpid()))
        if rank == 1:
            while len(list(folder.iterdir())) < 3:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        part = torch.randn(1, 4, 8)
        ring_attention(part, part, part)

    with pytest.raises(AttnlabError, match="Process 1 of 3 ended by signal 9"):
        in_processes(work, 3, tmp_path, timeout=60)
    for file in tmp_path.iterdir():
        assert not alive(int(file.read_text()))


def test_an_error_in_one_process_is_shown_with_its_line_and_not_as_a_lost_neighbour():
    def work(rank):
        if rank == 1:
            raise ValueError("mine")
        part = torch.randn(1, 4, 8)
        ring_attention(part, part, part)

    with pytest.raises(AttnlabError, match=r"(?s)Process 1 of 2 raised.*ValueError: mine"):
        in_processes(work, 2)


def test_a_process_that_waits_for_nobody_is_stopped_in_time():
    def work(rank):
        if rank == 0:
            time.sleep(1000)

    with pytest.raises(AttnlabError, match=r"0.* did not finish within 9 seconds"):
        in_processes(work, 2, timeout=9)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = (
        "import os, sys, time, pathlib\n"
        "from attnlab.attention import in_processes\n"
        "def work(rank, folder):\n"
        "    pathlib.Path(folder, str(rank)).write_text(str(os.getpid()))\n"
        "    time.sleep(1000)\n"
        "in_processes(work, 2, sys.argv[1], timeout=900)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    time.sleep(0.1)
    parent.kill()
    parent.wait()
    left = [int(file.read_text()) for file in tmp_path.iterdir()]
    end = time.monotonic() + 20
    while any(map(alive, left)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, left))


def test_it_runs_under_torchrun(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys, torch, torch.distributed as dist\n"
        "from attnlab.attention import ring_attention, ring_join, ring_part, tiled_attention\n"
        "dist.init_process_group('gloo')\n"
        "torch.manual_seed(0)\n"
        "whole = torch.randn(3, 16, 4)\n"
        "part = ring_part(whole)\n"
        "context = ring_join(ring_attention(part, part, part, causal=True))\n"
        "expected = tiled_attention(whole, whole, whole, causal=True)\n"
        "told = pathlib.Path(sys.argv[1]) / f'{dist.get_rank()}.txt'\n"
        "told.write_text(str(float((context - expected).abs().max())))\n"
        "dist.destroy_process_group()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):  # printed lines of two processes could run into each other
        assert float((tmp_path / f"{rank}.txt").read_text()) < 1e-5


@pytest.mark.parametrize(
    "arguments, told",
    [((0,), "from 1 on"), ((True,), "from 1 on"), ((2.0,), "from 1 on")],
)
def test_a_number_of_processes_that_is_none_is_refused(arguments, told):
    with pytest.raises(AttnlabError, match=told):
        in_processes(len, *arguments)


def test_what_cannot_travel_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as file, pytest.raises(AttnlabError, match="Open files"):
        in_processes(lambda rank, given: None, 1, file)
    with pytest.raises(AttnlabError, match="seconds above 0"):
        in_processes(len, 1, timeout=0)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat").read_text()
    return status.rsplit(")", 1)[1].split()[0] != "Z"
