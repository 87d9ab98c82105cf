"""MMRec folders: one .inter file (tab-separated, `userID itemID ... x_label`) and <stem>_feat.npy, row = itemID.

https://github.com/enoche/MMRec. x_label 0, 1, 2 is train, validation, test. Arrays with other names are read where
their rows fit the items without doubt. MMRec also stores graphs as `.npy` files; these are pickles and are not read.
"""

from pathlib import Path

import numpy as np
import polars as pl

from medley.data.sources.arrays import feat_or_guessed, highest
from medley.data.sources.finding import ITEMS, USERS, find_catalogue
from medley.data.sources.raw import RawLog, raw_log
from medley.data.sources.reading import ReadOptions, read_beside, read_catalogue, read_log
from medley.data.sources.recbole import inter_file, tabbed
from medley.data.sources.tables import read_table


def read_mmrec(source: Path, options: ReadOptions) -> RawLog:
    """Reads a folder, or a .inter file and what belongs to it in the same folder."""
    inter = inter_file(source, options)
    log = read_log(read_table(inter, tabbed(options.form)), options.columns)
    catalogues = {
        kind: read_catalogue(read_beside(path, options), options.columns, kind=kind)
        for kind, names, named in (("user", USERS, options.users), ("item", ITEMS, options.items))
        if (path := find_catalogue(inter, names, named, [inter])) is not None
    }
    items = catalogues.get("item")
    numbers = log.frame["item_id"].cast(pl.Int64, strict=False)
    num_items = highest(numbers) + 1 if numbers.is_not_null().all() else -1
    ids = None
    if items is not None:  # the row of an array is the itemID, wherever the item stands in its table
        known = items.frame["item_id"].cast(pl.Int64, strict=False)
        num_items = max(num_items, highest(known) + 1)
        ids = pl.Series("item_id", np.arange(num_items)).cast(pl.String)
    num_users = log.frame["user_id"].n_unique()
    features, reasons = feat_or_guessed(inter.parent, options, num_items=num_items, num_users=num_users, ids=ids)
    return raw_log({inter: log}, users=catalogues.get("user"), items=items, features=features, reasons=reasons)
