"""The same desk and view outside JupyterLab: Voila, the demo, Notebook 7, an exported page."""

import shutil
import sys
import urllib.error
import urllib.request

import pytest
from jupyter_page import PATIENCE, ROOT, SHOTS, Notebook, free_port, jupyter, server
from live_desk import ONE_HEAD, lines_drawn, silence_last_layer, wait_measured


@pytest.mark.thorough
def test_voila_shows_desk_and_view_and_links_lead_to_other_lessons(context, tmp_path):
    for name in ("00_start_here", "01_attention_maths"):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "voila", ".", "--no-browser", f"--port={port}"]
    command += ["--Voila.ip=127.0.0.1"]
    base = f"http://127.0.0.1:{port}"
    with server(command, f"{base}/voila/static/voila.js", tmp_path):
        page = context.new_page()
        page.goto(f"{base}/voila/render/00_start_here.ipynb", timeout=PATIENCE)
        page.wait_for_selector(".attnlab-desk", timeout=PATIENCE)
        wait_measured(page)
        assert lines_drawn(page, page.locator("iframe[title^='Attention']").first) > ONE_HEAD
        silence_last_layer(page)
        page.wait_for_function("() => document.querySelectorAll('.desk-flips li').length > 0")
        if SHOTS.is_dir():
            page.screenshot(path=SHOTS / "voila.png")
        link = page.locator("a[href*='01_attention_maths.ipynb']").first
        status = link.evaluate(
            """async link => { const enough = new AbortController();
            const { status } = await fetch(link.href, { signal: enough.signal });
            enough.abort(); // that it is rendered is enough
            return status; }"""
        )
        assert status == 200
    # Voila's own page asks for icon fonts; everything is there without them
    assert [url for url in context.strangers if "fontawesome" not in url] == []


def test_the_demo_is_a_page_without_code_that_asks_nobody_else(context, tmp_path):
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "attnlab", "demo", "--no-browser", "--port", str(port)]
    with server(command, f"{base}/voila/static/voila.js", tmp_path) as process:
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{base}/voila/render/desk.ipynb", timeout=PATIENCE)
        page.wait_for_selector(".attnlab-desk", timeout=PATIENCE)
        wait_measured(page)
        silence_last_layer(page)
        page.wait_for_function("() => document.querySelectorAll('.desk-flips li').length > 0")
        assert page.locator(".jp-CodeCell .jp-InputArea:visible").count() == 0
        assert page.locator("[data-attnlab-still]:visible").count() == 0
        assert "import attnlab" not in page.content()
        if SHOTS.is_dir():
            page.screenshot(path=SHOTS / "demo.png")
        assert "Using pre-heated kernel" in (tmp_path / "server.log").read_text()
        links = page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")
        assert f"{base}/voila/render/00_start_here.ipynb" in links
        for link in links:
            status = page.evaluate(
                """async link => { const enough = new AbortController();
                const { status } = await fetch(link, { signal: enough.signal });
                enough.abort();
                return status; }""",
                link,
            )
            assert status == 200, link
        failed = [text for text in said if "Failed to create module" in text]
        assert failed == [], "extensions that are not made for Voila"
        process.terminate()  # the command alone, which ends Voila and its kernels
        process.wait(30)
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{base}/voila/static/voila.js", timeout=5)
    assert context.strangers == []


def test_a_notebook_exported_to_html_draws_its_views(context, tmp_path):
    import nbclient
    import nbconvert
    import nbformat

    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "import attnlab as al\nclf = al.load_classifier('movie-sentiment')\n"
                "maps = clf.attend('A fine </script><b> film.')\n"
                "al.attention_view(maps, kind='model', layers=[0, 5])"
            )
        ]
    )
    nbclient.NotebookClient(notebook, timeout=120).execute()
    page_text, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    (tmp_path / "page.html").write_text(page_text)
    page = context.new_page()
    page.route(
        "**/*",
        lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort(),
    )
    page.goto((tmp_path / "page.html").as_uri())
    view = page.locator("iframe[title^='Attention']").first
    view.wait_for()
    assert lines_drawn(page, view) > 100


def test_notebook_7_draws_the_view(context, tmp_path):
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", tmp_path)
    with jupyter(tmp_path, tmp_path, app="notebook") as running:
        notebook = Notebook.open(context, running.address("00_start_here.ipynb"))
        notebook.run_all(above=notebook.cell_with("al.HeadMixer(") + 1)
        assert lines_drawn(notebook.page, notebook.show("iframe[title^='Attention']")) > ONE_HEAD
        notebook.show(".attnlab-desk")
        wait_measured(notebook.page)
    assert context.strangers == []


def test_a_request_to_another_machine_is_blocked_and_counted(context):
    """The other tests' count of zero means something only if a request would be seen."""
    page = context.new_page()
    page.goto("data:text/html,<title>here</title>")
    blocked = page.evaluate("() => fetch('http://example.org/x').then(() => false, () => true)")
    assert blocked
    assert context.strangers == ["http://example.org/x"]
