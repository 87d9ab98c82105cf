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


class Screen(io.StringIO):
    """What a command prints, on a terminal or not."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


def medley(*arguments: object) -> Done:
    """Runs a command as the entry point would."""
    out, err = Screen(), io.StringIO()
    with patch.object(sys, "argv", ["medley", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
    return Done(code, out.getvalue(), err.getvalue())


def printed(*arguments: object, exit_code: int = 0) -> str:
    """Runs a command that ends with this exit code; returns what it prints, with its errors where it fails."""
    done = medley(*arguments)
    assert done.returncode == exit_code, done.stderr
    return done.stdout + done.stderr if exit_code else done.stdout
