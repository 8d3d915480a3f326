"""Images as the views of desks take them."""

import base64
import io

import numpy as np
from PIL import Image


def png_address(image: np.ndarray) -> str:
    """A uint8 image, (H, W) or (H, W, 3), as the data: address of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
