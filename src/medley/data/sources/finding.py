"""Which file of a source is what, by its name; and what is said about files that were not read."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from medley.data.manifest import SPLITS
from medley.data.options import path_of
from medley.data.sources.compressed import inner_name
from medley.data.sources.tables import Source
from medley.errors import InputError

TEXT, PARQUET, JSON = (".csv", ".tsv", ".tab"), (".parquet",), (".json", ".jsonl", ".ndjson")
LOOSE_TEXT = (".txt", ".dat", ".data", ".base", ".inter")  # text whose suffix says nothing about the separator
TABLES = TEXT + PARQUET + JSON
SPLIT_STEMS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
SPLIT_LIKE = re.compile(
    r"(^|[^a-z])(train|training|val|valid|validation|dev|test|testing|holdout|probe|eval)([^a-z]|$)"
)
INTERACTIONS = (
    *("interactions", "ratings", "events", "clicks", "purchases", "transactions", "reviews", "views", "pairs"),
    *("log", "orders", "plays", "interaction", "rating"),
)
ITEMS = (
    *("items", "movies", "articles", "products", "books", "songs", "tracks", "artists", "titles", "news", "games"),
    *("anime", "videos", "item"),
)
USERS = ("users", "customers", "user")
JUNK = {"thumbs.db", "desktop.ini"}
SHOWN = 20  # names of files in one message
FEATURE_FORMATS = {  # suffix -> what it is, and how its array becomes a .npy file
    ".npz": ("an archive of arrays", "numpy.save('{stem}.npy', numpy.load('{name}')['...'])"),
    ".pt": ("PyTorch", "numpy.save('{stem}.npy', torch.load('{name}', weights_only=True).cpu().numpy())"),
    ".pth": ("PyTorch", "numpy.save('{stem}.npy', torch.load('{name}', weights_only=True).cpu().numpy())"),
    ".pkl": ("a pickle, which may run code", "load it where you trust it, then numpy.save('{stem}.npy', array)"),
    ".pickle": ("a pickle, which may run code", "load it where you trust it, then numpy.save('{stem}.npy', array)"),
    ".mat": ("MATLAB", "numpy.save('{stem}.npy', scipy.io.loadmat('{name}')['...'])"),
    ".h5": ("HDF5", "numpy.save('{stem}.npy', h5py.File('{name}')['...'][:])"),
    ".hdf5": ("HDF5", "numpy.save('{stem}.npy', h5py.File('{name}')['...'][:])"),
    ".safetensors": ("safetensors", "numpy.save('{stem}.npy', safetensors.numpy.load_file('{name}')['...'])"),
}


def source_of(value: Any) -> Path:
    """Returns the path of a source.

    Raises:
        InputError: not a path, nothing is there, or neither a file nor a folder.
    """
    source = path_of(value, "source")
    if not source.exists():
        raise InputError("the source does not exist", file=source, remedy="check the path")
    if not source.is_file() and not source.is_dir():
        expected, remedy = "a file or a folder", "write into a file what comes out of it"
        raise InputError("the source", file=source, expected=expected, got="a pipe or device", remedy=remedy)
    return source


def home(source: Path) -> Path:
    """The folder in which a source lies, or that it is."""
    return source if source.is_dir() and not is_table(source) else source.parent


def is_table(path: Path) -> bool:
    """A file, or a folder of parts that stands for one, as Spark writes it: interactions.parquet/."""
    return path.is_file() or (path.is_dir() and path.suffix.lower() in TABLES)


def listing(folder: Path) -> list[Path]:
    """The visible files of a folder, by name; folders of parts are files."""
    return [path for path in _visible(folder) if is_table(path)]


def stem_and_suffix(path: Path) -> tuple[str, str]:
    """`LOG.CSV.gz` -> ("LOG", ".csv"); case and compression of the suffix do not count."""
    stem, dot, suffix = path.name[: len(inner_name(path))].rpartition(".")
    return (stem, f".{suffix.lower()}") if dot else (suffix, "")


def named_file(folder: Path, name: str, option: str) -> Path:
    """Returns the file that an option names, relative to the source or as a path of its own.

    Raises:
        InputError: there is no such file.
    """
    for path in (folder / name, Path(name)):
        if is_table(path):
            return path
    got = names_of(listing(folder)) or "an empty folder"
    raise InputError(f"{option} names no file", file=folder, expected=repr(name), got=got, remedy="check the name")


def find(folder: Path, stems: Collection[str], suffixes: tuple[str, ...]) -> Path | None:
    """Returns the only file with one of these stems and suffixes, whatever their case, or None.

    Raises:
        InputError: there are two.
    """
    found = [path for path in listing(folder) if _is(path, stems, suffixes)]
    if len(found) > 1:
        raise InputError("one file is expected", file=folder, got=names_of(found), remedy="keep one")
    return found[0] if found else None


def candidates(folder: Path, names: tuple[str, ...], suffixes: tuple[str, ...]) -> list[Path]:
    """Files with a usual name: the first name is the layout's own; then others, then names that end in one of them."""
    files = [path for path in listing(folder) if stem_and_suffix(path)[1] in suffixes]
    stems = {path: stem_and_suffix(path)[0].lower() for path in files}
    for matches in (
        lambda stem: stem == names[0],
        lambda stem: stem in names,
        lambda stem: re.split(r"[-_. ]", stem)[-1] in names,
    ):
        if found := [path for path, stem in stems.items() if matches(stem)]:
            return found
    return []


def find_catalogue(source: Path, names: tuple[str, ...], named: str | None, taken: Iterable[Path]) -> Path | None:
    """Returns the item or user table of a source: the file that is named, or the only one with a usual name."""
    folder = home(source)
    if named is not None:
        return named_file(folder, named, names[0])
    found = [path for path in candidates(folder, names, TABLES) if path not in set(taken)]
    if len(found) > 1 and stem_and_suffix(found[0])[0].lower() == names[0]:
        raise InputError("one file is expected", file=folder, got=names_of(found), remedy="keep one")
    return found[0] if len(found) == 1 else None


def find_splits(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Returns split -> file, for the splits that are there.

    Raises:
        InputError: two files for one split, or a file whose name looks like a split that is not known.
    """
    found = {split: find(folder, stems, suffixes) for split, stems in SPLIT_STEMS.items()}
    splits = {split: path for split, path in found.items() if path is not None}
    if splits:
        missing = {stem for split, stems in SPLIT_STEMS.items() if split not in splits for stem in stems}
        odd = [
            path
            for path in listing(folder)
            if path not in splits.values()
            and (
                (stem_and_suffix(path)[1] in suffixes and SPLIT_LIKE.search(stem_and_suffix(path)[0].lower()))
                or _is(path, missing, (*TABLES, *LOOSE_TEXT))  # the missing part in another format
            )
        ]
        if odd:
            known = ", ".join(stem for split in SPLITS for stem in SPLIT_STEMS[split])
            remedy = "rename the file, move it elsewhere, or give one log: interactions=..."
            raise InputError("a split that is not known", file=odd[0], expected=known, got=odd[0].name, remedy=remedy)
    return splits


def unread(source: Path, files: Iterable[Source], reasons: Mapping[Path, str]) -> dict[str, int]:
    """Returns oddity -> count about what lies in the source, or beside it, and was not read."""
    read = {path.resolve() for path in files if isinstance(path, Path)}
    folder = home(source)
    left = [path for path in _visible(folder) if path.resolve() not in read]
    if folder != source:  # the folder of a single file may be anybody's: only what could belong to a log
        left = [path for path in left if path.is_file() and (path in reasons or _could_belong(path))]
    notes: dict[str, int] = {}
    others = []
    for path in left:
        stem, suffix = stem_and_suffix(path)
        if path in reasons:
            notes[f"not read: {path.name}: {reasons[path]}"] = 1
        elif suffix in FEATURE_FORMATS:
            what, how = FEATURE_FORMATS[suffix]
            notes[f"not read: {path.name} ({what}). If it holds features: {how.format(stem=stem, name=path.name)}"] = 1
        else:
            others.append(path)
    if others:
        notes[f"files not read: {names_of(others)}"] = len(others)
    return notes


def names_of(paths: Iterable[Path]) -> str:
    """The names of some files in one line; long lists are cut."""
    names = [path.name + ("/" if path.is_dir() else "") for path in paths]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _is(path: Path, stems: Collection[str], suffixes: tuple[str, ...]) -> bool:
    stem, suffix = stem_and_suffix(path)
    return stem.lower() in stems and suffix in suffixes


def _could_belong(path: Path) -> bool:
    suffix = stem_and_suffix(path)[1]
    return suffix in TABLES or suffix in FEATURE_FORMATS or suffix == ".npy"


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in JUNK)
