"""The log of feedback as a table, which the next import reads."""

import polars as pl
import pytest
from tests.serving.storing import event

from medley.data.importing import import_dataset
from medley.errors import InputError


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_log_is_exported_and_imported_as_the_next_training_data(store, tmp_path, suffix):
    events = [
        event(
            number,
            f"u{number % 10}",
            item=f"i{number // 10 % 12}",
            time=1e9 + number + 0.25,
            id=f"{number}",
            type=("like", "view", "skip")[number % 3],
        )
        for number in range(120)
    ]
    store.add_feedback(events)
    source = tmp_path / "source"
    assert store.export_log(source / f"interactions{suffix}") == 120
    assert [path.name for path in source.iterdir()] == [f"interactions{suffix}"]
    if suffix == ".parquet":
        log = pl.read_parquet(source / "interactions.parquet")
        assert log.columns == ["user", "item", "type", "timestamp"]
        assert log["timestamp"].dtype == pl.Datetime("ms", "UTC")
        rows = [(each.user, each.item, each.type, each.time) for each in events]
        assert log.with_columns(pl.col("timestamp").dt.epoch("ms") / 1000).rows() == rows
    data = import_dataset(
        suffix[1:], source, tmp_path / "data", event_column="type", positive=("like",), negative=("skip",), split="time"
    )
    kept = {(each.user, each.item) for each in events if each.type == "like"}
    pairs = set()
    for split in ("train", "valid", "test"):
        part = data.interactions(split)
        pairs |= {(data.users.raw_id(u), data.items.raw_id(i)) for u, i in zip(part.user, part.item, strict=True)}
    assert pairs == kept
    assert len(data.disliked.user) > 0


def test_an_empty_log_is_exported_and_other_kinds_of_files_are_refused(store, tmp_path):
    assert store.export_log(tmp_path / "log.csv") == 0
    assert (tmp_path / "log.csv").read_text() == "user,item,type,timestamp\n"
    with pytest.raises(InputError, match=r"expected .csv or .parquet, got '.xlsx'"):
        store.export_log(tmp_path / "log.xlsx")


def test_a_long_log_is_exported_page_by_page(store, tmp_path, monkeypatch):
    monkeypatch.setattr("medley.serving.feedback_log.LOG_PAGE", 7)
    store.add_feedback([event(number) for number in range(50)])
    assert store.export_log(tmp_path / "log.parquet") == 50
    assert pl.read_parquet(tmp_path / "log.parquet")["item"].to_list() == [f"i{number % 7}" for number in range(50)]
