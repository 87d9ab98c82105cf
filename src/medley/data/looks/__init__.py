"""Looks at a source and says what it is: format, separator, header, columns, split, features, unit of time.

A look reads the first lines and the names of files. It proposes; the import decides by its own rules.

looking   what a folder or a file seems to be
heads     the first lines of a text: encoding, separator, header
columns   which column is what, by its name and its values
"""

from medley.data.looks.looking import Look, likely_cause, look

__all__ = ["Look", "likely_cause", "look"]
