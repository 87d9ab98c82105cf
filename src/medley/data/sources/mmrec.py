"""MMRec folders: one .inter file (tab-separated, `userID itemID ... x_label`) and <stem>_feat.npy, row = itemID.

https://github.com/enoche/MMRec. x_label 0, 1, 2 is train, validation, test. MMRec also stores graphs as `.npy` files;
these are pickles and are not read.
"""

from pathlib import Path

from medley.data.sources.arrays import feat_features
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.recbole import inter_file
from medley.data.sources.tables import Columns, read_log, read_table
from medley.data.sources.text import TextForm


def read_mmrec(source: Path, columns: Columns) -> RawLog:
    """Reads a folder, or a .inter file and the features in the same folder."""
    inter = inter_file(source)
    table = read_table(inter, TextForm("\t", quote=None))
    return raw_log({inter: read_log(table, columns)}, features=feat_features(inter.parent))
