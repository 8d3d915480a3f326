"""The mixing desk as a web page: Voila on one dashboard, with the lessons behind its links."""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from attnlab.course import notebooks
from attnlab.errors import AttnlabError
from attnlab.files import atomic_write

PAGE = "desk.ipynb"
_CELLS = (
    (
        "markdown",
        "# A BERT on a mixing desk\n\nThis model judges film reviews. Type a sentence, then move "
        "the faders: each scales one attention head, and the answer, the attention and the "
        "accuracy on held-out reviews follow.",
    ),
    (
        "code",
        "import attnlab as al\n\n"
        'clf = al.load_classifier("movie-sentiment")\n'
        'reviews = al.datasets.load("movie-sentiment").dev\n'
        "al.HeadMixer(clf, reviews, sentences=al.device.profile().sentences)",
    ),
    (
        "markdown",
        "What the words mean, and what the model looks at: [a tour of ten minutes]"
        "(00_start_here.ipynb), which takes half a minute to open.",
    ),
)
# The page asks no other machine for anything: Voila's own template would, for fonts.
_ONLY_HERE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:"
)

# What draws widgets. Others, made for JupyterLab, fail in a page of Voila's.
_EXTENSIONS = [
    "@voila-dashboards/widgets-manager8",
    "@jupyter-widgets/jupyterlab-manager",
    "anywidget",
]


def make_pages(folder: Path, kernels: int = 1, host: str = "127.0.0.1", port: int = 8866) -> Path:
    """Write the dashboard, the lessons that it links to, and Voila's settings.

    Parameters
    ----------
    folder : an empty folder
    kernels : that are started and have run the dashboard before somebody comes
    host, port : where Voila listens

    Returns
    -------
    The folder that Voila serves; its settings, ``voila.json``, lie beside it
    """
    import nbformat.v4

    pages = folder / "pages"
    notebooks.start(pages)
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    dashboard = nbformat.v4.new_notebook(
        cells=[make[kind](source, id=f"cell-{n}") for n, (kind, source) in enumerate(_CELLS)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    dashboard.metadata["title"] = "A BERT on a mixing desk"
    atomic_write(pages / PAGE, notebooks.as_text(dashboard).encode())
    settings = {
        "Voila": {
            "ip": host,
            "port": port,
            "port_retries": 0,
            "open_browser": False,
            "tornado_settings": {"headers": {"Content-Security-Policy": _ONLY_HERE}},
        },
        "VoilaConfiguration": {
            "preheat_kernel": kernels > 0,
            "show_tracebacks": False,
            "extension_allowlist": _EXTENSIONS,
        },
        "VoilaKernelManager": {  # the lessons start their kernels when they are opened
            "kernel_pools_config": {PAGE: {"pool_size": kernels}, "default": {"pool_size": 0}},
            "fill_delay": 10,  # seconds; until then the visitor who has come needs the processor
        },
        # who closes the page leaves a kernel behind
        "MappingKernelManager": {"cull_idle_timeout": 900, "cull_interval": 60},
    }
    atomic_write(folder / "voila.json", (json.dumps(settings, indent=1) + "\n").encode())
    return pages


def serve(
    host: str = "127.0.0.1",
    port: int = 8866,
    kernels: int = 1,
    ready: Callable[[str], None] = lambda page: None,
) -> int:
    """Serve the dashboard until it is stopped; return Voila's exit code.

    Parameters
    ----------
    host, port, kernels : see `make_pages`
    ready : called with the page's place on the server once Voila answers

    Raises
    ------
    AttnlabError : Voila ended before it answered
    """
    with tempfile.TemporaryDirectory(prefix="attnlab-demo-") as place:
        pages = make_pages(Path(place), kernels, host, port)
        here = "127.0.0.1" if host == "0.0.0.0" else host
        process = subprocess.Popen([sys.executable, "-m", "voila", str(pages)], cwd=place)
        answered = threading.Event()

        def wait() -> None:
            while process.poll() is None and not answered.is_set():
                with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                    urllib.request.urlopen(f"http://{here}:{port}/voila/static/voila.js", timeout=5)
                    answered.set()
                    ready(f"voila/render/{PAGE}")
                time.sleep(0.2)

        threading.Thread(target=wait, daemon=True).start()
        with contextlib.suppress(ValueError):  # outside the main thread nobody sends signals
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = process.wait()
    if not answered.is_set():
        raise AttnlabError(
            f"Voila did not start (exit code {code}); what it said stands above. If the port is "
            f"taken: attnlab demo --port {port + 1}."
        )
    return code
