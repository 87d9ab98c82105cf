"""The command line: one file per command, which parses arguments, calls `medley.api` and shows the result.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage or
input.
"""

import os
import sys
import traceback
import warnings


def main() -> None:
    """Entry point of `medley`."""
    debug = "--debug" in sys.argv[1:] or bool(os.environ.get("MEDLEY_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]

    from medley.cli.app import app
    from medley.cli.options import with_flags
    from medley.errors import MedleyError

    warnings.showwarning = _note
    try:
        app(arguments, prog_name="medley")
    except Exception as error:  # every error ends here: users get a sentence, --debug a traceback
        if debug:
            traceback.print_exc()
        known = isinstance(error, MedleyError)
        sentence = f"Error: {with_flags(str(error))}" if known else f"Internal error: {error!r}. Run again with --debug"
        print(sentence, file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, MedleyError) else 1)


def _note(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Shows a warning of the library as one line; other libraries' warnings concern their own developers."""
    from medley.errors import MedleyWarning

    if issubclass(category, MedleyWarning):
        print(f"Note: {message}", file=sys.stderr)
