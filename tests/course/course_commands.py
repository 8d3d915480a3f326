"""Commands, run in this process."""

import pytest

from attnlab.cli import main


def run(*arguments):
    """Run a command that should end well."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    assert not end.value.code
