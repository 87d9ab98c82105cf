"""Runs commands in this process, for tests."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

from medley.cli import main


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def medley(*arguments: object) -> Done:
    """Runs a command as the entry point would."""
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["medley", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
    return Done(code, out.getvalue(), err.getvalue())
