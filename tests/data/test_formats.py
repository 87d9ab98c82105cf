"""Another package adds a format by an entry point."""

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from medley import plugins
from medley.data import sources
from medley.data.importing import import_dataset
from medley.data.sources.raw import raw_log
from medley.data.sources.reading import read_log
from medley.data.sources.tables import read_table
from medley.data.sources.text import TextForm
from medley.errors import InputError


def read_shop(path, options):
    """A reader as another package would write it."""
    return raw_log({path: read_log(read_table(path, TextForm(separator=";")), options.columns)})


def no_log(path, options):
    return {}


not_a_function = 3


@pytest.fixture
def shop(tmp_path, monkeypatch):
    entries = {
        "shop": f"{__name__}:read_shop",
        "csv": f"{__name__}:no_log",
        "wrong": f"{__name__}:no_log",
        "number": f"{__name__}:not_a_function",
        "absent": "a_package_that_is_absent:read",
        "attribute": f"{__name__}:read_nothing",
    }
    points = [EntryPoint(name, value, sources.ENTRY_POINTS) for name, value in entries.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "medley.sources" else [])
    module = types.ModuleType(__name__)  # pytest's importlib mode leaves this file out of sys.modules
    vars(module).update(globals())
    monkeypatch.setitem(sys.modules, __name__, module)
    path = tmp_path / "log.shop"
    path.write_text("user_id;item_id\na;x\nb;y\n")
    return path


def test_a_format_of_another_package_is_found_by_its_name(shop, tmp_path):
    data = import_dataset("shop", shop, tmp_path / "out")
    assert data.users.raw.to_list() == ["a", "b"]
    assert data.manifest.provenance["format"] == "shop"
    assert sources.names()[-5:] == ["shop", "wrong", "number", "absent", "attribute"]


def test_our_formats_come_first(shop):
    assert sources.find("csv") is sources.SOURCES["csv"]


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("xml", "format: expected csv or .* or shop or .*, got 'xml'"),
        (
            "absent",
            "format 'absent' from a_package_that_is_absent:read: got ModuleNotFoundError.*Remedy: mend",
        ),
        ("attribute", "format 'attribute' from .*read_nothing: got AttributeError"),
        ("number", "expected a function .path, options. -> RawLog, got 3"),
        ("wrong", "reader of format 'wrong': expected a RawLog, got dict"),
    ],
)
def test_a_broken_entry_is_an_input_error(shop, tmp_path, format, message):
    with pytest.raises(InputError, match=message):
        import_dataset(format, shop, tmp_path / "out")
