"""The mixing desk and bertviz's view on a page that is alive, wherever that is."""

from jupyter_page import PATIENCE
from playwright.sync_api import Error

LINES = (
    "[...document.querySelectorAll('#vis line')]"
    ".filter(line => line.getAttribute('stroke-opacity') > 0.01).length"
)

ONE_HEAD = 30  # lines at least that can be seen of the head with which lesson 00 opens


def lines_drawn(page, iframe):
    """How many visible lines bertviz has drawn in a frame, or in the one that takes its place."""
    line = iframe.content_frame.locator("#vis line").first
    try:
        return line.evaluate(f"() => {LINES}", timeout=PATIENCE)
    except Error as error:  # the frame was replaced between finding the line and counting
        if "detached" not in str(error) and "destroyed" not in str(error):
            raise
        return line.evaluate(f"() => {LINES}", timeout=PATIENCE)


def wait_measured(page):
    """Wait until answer, picture and measured accuracy all belong to the faders as they stand."""
    page.wait_for_function(
        """() => { const at = (name) => document.querySelector(name)?.dataset;
        return at('.desk-accuracy')?.state === 'measured'
          && ['accuracy', 'answer', 'picture'].every(
            name => at(`.desk-${name}`).stamp === at('.attnlab-desk').stamp)
          && document.querySelector('.desk-picture iframe')?.style.visibility !== 'hidden'; }""",
        timeout=PATIENCE,
    )


def reading(page):
    """What the desk says: accuracy, change, prediction."""
    return {
        name: page.locator(f".attnlab-desk .desk-{name}").first.text_content()
        for name in ("big", "change", "answer")
    }


def silence_last_layer(page):
    for head in range(12):
        fader = page.locator(f"input[data-layer='5'][data-head='{head}']")
        fader.focus()
        fader.press("0")
