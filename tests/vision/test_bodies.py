"""Windows: each is read by itself, and patches come in the order of the whole picture."""

import pytest
import torch
from tiny_scenes import tiny_body

from attnlab.errors import ModelError, TensorError
from attnlab.vision.bodies import Windows


def test_each_window_is_read_by_itself_in_the_order_of_the_picture():
    body = tiny_body((8, 12), stem=True).eval()  # 2 x 3 patches of 4 x 4
    windows = Windows(body, rows=2, columns=3)
    images = torch.randn(2, 1, 16, 36)
    found = windows.encode(images).unflatten(1, windows.grid)  # (B, 4, 9, E)
    assert windows.size["image"] == (16, 36) and windows.grid == (4, 9)
    for row in range(2):
        for column in range(3):
            window = images[..., 8 * row : 8 * row + 8, 12 * column : 12 * column + 12]
            expected = body.encode(window).unflatten(1, body.grid)
            there = found[:, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            torch.testing.assert_close(there, expected)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="cls"):
        Windows(tiny_body(8, pool="cls"))
    with pytest.raises(TensorError, match="16 x 16"):
        Windows(tiny_body(8)).encode(torch.zeros(1, 1, 8, 8))
