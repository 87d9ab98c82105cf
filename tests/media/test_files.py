"""Files, tables and columns find their items; nothing is guessed in silence."""

import os
import time
from pathlib import Path

import polars as pl
import pytest

from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.media.files import ItemMedia, Problem, find_media
from medley.media.limits import Limits
from medley.media.matching import Matcher, Name


def dataset(*ids: str, **columns) -> Dataset:
    """A data set whose items have these ids and columns; row numbers are in natural order of the ids."""
    users = [f"u{number}" for number in range(6)]
    log = pl.DataFrame({"user_id": [user for user in users for _ in ids], "item_id": list(ids) * len(users)})
    items = pl.DataFrame({"item_id": list(ids), **columns})
    return Dataset.from_frames(log, items=items)


def touched(folder: Path, *names: str) -> Path:
    """Makes empty files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def named(media: dict[int, ItemMedia], data: Dataset, folder: Path) -> dict[str, list[str]]:
    """Item id -> its files, relative to the folder, in order."""
    return {
        data.items.raw_id(row): [str(path.relative_to(folder)) for path in (*each.images, *each.videos, *each.audios)]
        for row, each in media.items()
    }


def test_files_are_found_by_their_names_in_any_folder_with_suffixes_in_any_case(tmp_path):
    data = dataset("1", "2", "a.b", "C")
    touched(tmp_path, "1.jpg", "deep/er/1.MP4", "sounds/2.Wav", "a.b.png", "C.jpeg", "9.jpg")
    found = find_media(data, tmp_path)
    assert named(found.media, data, tmp_path) == {
        "1": ["1.jpg", "deep/er/1.MP4"],
        "2": ["sounds/2.Wav"],
        "a.b": ["a.b.png"],
        "C": ["C.jpeg"],
    }
    assert found.media[data.items.row("1")].videos == (tmp_path / "deep/er/1.MP4",)
    assert found.media[data.items.row("2")].audios == (tmp_path / "sounds/2.Wav",)
    assert list(found.media) == sorted(found.media)
    assert found.unmatched == ["9.jpg"]
    assert found.notes == ["files without an item: 1, for example 9.jpg"]
    assert found.problems == []


def test_several_files_of_an_item_are_numbered_or_lie_in_its_folder(tmp_path):
    data = dataset("42", "7_1", "x")
    touched(
        tmp_path,
        "42.jpg",
        "42_1.jpg",
        "42-2.png",
        "42 (3).jpg",
        "x/front.jpg",
        "x/sub/back.jpg",
        "7_1.jpg",
        "7_1_2.jpg",
    )
    found = find_media(data, tmp_path)
    assert named(found.media, data, tmp_path) == {
        "42": ["42 (3).jpg", "42-2.png", "42.jpg", "42_1.jpg"],
        "7_1": ["7_1.jpg", "7_1_2.jpg"],
        "x": ["x/front.jpg", "x/sub/back.jpg"],
    }
    assert found.unmatched == []


def test_an_id_that_is_the_whole_file_name_or_looks_numbered_is_itself(tmp_path):
    data = dataset("cat.jpg", "5", "5_1")
    touched(tmp_path, "cat.jpg", "5.jpg", "5_1.jpg", "5_2.jpg")
    found = find_media(data, tmp_path)
    assert named(found.media, data, tmp_path) == {"cat.jpg": ["cat.jpg"], "5": ["5.jpg", "5_2.jpg"], "5_1": ["5_1.jpg"]}


def test_a_name_and_a_folder_that_mean_different_items_are_a_problem_until_a_rule_decides(tmp_path):
    data = dataset("1", "2", "3")
    touched(tmp_path, "1/2.jpg", "3/3.jpg")
    found = find_media(data, tmp_path)
    assert named(found.media, data, tmp_path) == {"3": ["3/3.jpg"]}
    (problem,) = found.problems
    assert (problem.item, problem.file) == (None, "1/2.jpg")
    assert "the name means item '2' and the folder item '1'" in problem.reason
    assert named(find_media(data, tmp_path, id_rule="file").media, data, tmp_path) == {
        "2": ["1/2.jpg"],
        "3": ["3/3.jpg"],
    }
    assert named(find_media(data, tmp_path, id_rule="folder").media, data, tmp_path) == {
        "1": ["1/2.jpg"],
        "3": ["3/3.jpg"],
    }


def test_lost_zeros_are_a_near_miss_under_the_exact_rule_and_repaired_by_its_rule(tmp_path):
    data = dataset("12", "345")
    touched(tmp_path, "0012.jpg", "0345.jpg", "0345_2.jpg", "999.jpg")
    found = find_media(data, tmp_path, id_rule="exact")
    assert found.media == {}
    assert "0012.jpg: 3 of 4 names match an item id without leading zeros: id_rule='strip-zeros'" in found.notes
    assert found.unmatched == ["0012.jpg", "0345.jpg", "0345_2.jpg", "999.jpg"]
    found = find_media(data, tmp_path, id_rule="strip-zeros")
    assert named(found.media, data, tmp_path) == {"12": ["0012.jpg"], "345": ["0345.jpg", "0345_2.jpg"]}
    assert found.unmatched == ["999.jpg"]


@pytest.mark.parametrize(
    ("ids", "files", "rule"),
    [
        (("007", "012"), ("7.jpg", "12.jpg"), "strip-zeros"),
        (("abc", "Def"), ("ABC.jpg", "dEF.png"), "lower"),
        (("1", "2"), ("1.trailer.mp4", "2.clip.v2.mp4"), "first-dot"),
    ],
)
def test_auto_repairs_ids_that_all_differ_in_one_way_and_says_so(tmp_path, ids, files, rule):
    data = dataset(*ids)
    touched(tmp_path, *files)
    found = find_media(data, tmp_path)
    assert sorted(named(found.media, data, tmp_path).values()) == sorted([file] for file in files)
    assert found.notes[0].startswith(f"ids repaired by id_rule='{rule}': 2 of 2 names match")
    assert find_media(data, tmp_path, id_rule="exact").media == {}


@pytest.mark.parametrize(
    ("ids", "files"),
    [
        (("1", "2", "3"), ("1.jpg", "02.jpg", "03.jpg")),  # some match exactly
        (("1", "2"), ("01.jpg", "001.jpg", "02.jpg")),  # two different ids would be one item
        (("1", "01", "02"), ("001.jpg", "002.jpg")),  # an id would be two items
        (("1", "2"), ("01.jpg", "8.jpg", "9.jpg")),  # too few
        (("12", "a.b"), ("012.jpg", "A.b.jpg")),  # two repairs, and different ones
    ],
)
def test_auto_guesses_nothing_that_is_not_safe(tmp_path, ids, files):
    data = dataset(*ids)
    touched(tmp_path, *files)
    assert find_media(data, tmp_path).media == find_media(data, tmp_path, id_rule="exact").media
    assert not any("repaired" in note for note in find_media(data, tmp_path).notes)


def test_of_two_ids_that_a_rule_maps_to_one_item_only_the_exact_one_is_taken(tmp_path):
    data = dataset("7", "8")
    touched(tmp_path, "7.jpg", "07.jpg", "08.jpg", "008.jpg")
    found = find_media(data, tmp_path, id_rule="strip-zeros")
    assert named(found.media, data, tmp_path) == {"7": ["7.jpg"]}
    assert [problem.file for problem in found.problems] == ["008.jpg", "07.jpg", "08.jpg"]
    assert all("several different ids mean item" in problem.reason for problem in found.problems)


def test_an_id_that_a_rule_makes_two_items_is_a_problem(tmp_path):
    data = dataset("A", "a", "b")
    touched(tmp_path, "a.jpg", "B.jpg")
    found = find_media(data, tmp_path, id_rule="lower")
    assert named(found.media, data, tmp_path) == {"b": ["B.jpg"]}
    assert found.problems == [Problem(None, "a.jpg", "'a' means several items under this id_rule")]


def test_decomposed_letters_of_file_names_are_the_same_letters(tmp_path):
    data = dataset("café")
    touched(tmp_path, "cafe\u0301.jpg")
    assert len(find_media(data, tmp_path, id_rule="exact").media) == 1


def test_hidden_files_links_out_devices_and_other_kinds_are_ignored_with_a_note(tmp_path):
    data = dataset("1", "2", "3", "4", "5", "6", "ok")
    outside = touched(tmp_path / "outside", "2.jpg", "folder/6.jpg")
    folder = touched(tmp_path / "media", "ok.jpg", ".1.jpg", ".hidden/1.jpg", "Thumbs.db", "1.json", "2.xml", "README")
    (folder / "2.jpg").symlink_to(outside / "2.jpg")
    (folder / "out").symlink_to(outside / "folder")
    (folder / "loop").symlink_to(folder)
    (folder / "3.jpg").symlink_to("absent.jpg")
    (folder / "4.jpg").symlink_to("ok.jpg")  # stays within
    (folder / "5.jpg").mkdir()
    os.mkfifo(folder / "6.jpg")
    found = find_media(data, folder)
    assert named(found.media, data, folder) == {"4": ["4.jpg"], "ok": ["ok.jpg"]}
    assert found.notes == [
        "broken links ignored: 1, for example 3.jpg",
        "devices, pipes and sockets ignored: 1, for example 6.jpg",
        "folders with names like files ignored: 1, for example 5.jpg",
        "hidden files ignored: 3, for example .1.jpg",
        "links that leave the folder ignored: 2, for example 2.jpg",
        "links to folders ignored: 1, for example loop",
        "files of other kinds ignored: 3, namely .json (1), .xml (1), no suffix (1)",
    ]


def test_a_folder_named_like_a_file_that_is_an_item_is_searched(tmp_path):
    data = dataset("show.ts")
    touched(tmp_path, "show.ts/1.jpg")
    assert named(find_media(data, tmp_path).media, data, tmp_path) == {"show.ts": ["show.ts/1.jpg"]}


def test_a_folder_that_is_a_link_is_searched(tmp_path):
    data = dataset("1")
    touched(tmp_path / "real", "1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(find_media(data, tmp_path / "link").media) == 1


def test_names_that_are_not_utf_8_are_shown_without_breaking_a_report(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    found = find_media(dataset("1"), tmp_path)
    assert found.unmatched == ["caf\ufffd.jpg"]
    "".join(found.unmatched + found.notes).encode()


def test_text_files_are_read_and_bad_ones_are_problems(tmp_path):
    data = dataset("1", "2", "3", "4", "5")
    (tmp_path / "1.txt").write_bytes("\ufeffA blue dress\n".encode())
    (tmp_path / "2.txt").write_bytes(b"caf\xe9")
    (tmp_path / "3.txt").write_text("  \n")
    (tmp_path / "4.txt").write_text("")
    (tmp_path / "5.txt").write_text("long " * 100)
    found = find_media(data, tmp_path, limits=Limits(max_text_bytes=100))
    assert found.media == {0: ItemMedia(texts=("A blue dress",))}
    assert found.problems == [
        Problem(1, "2.txt", "not a text in UTF-8"),
        Problem(2, "3.txt", "no text"),
        Problem(3, "4.txt", "empty file"),
        Problem(4, "5.txt", "a file of 500 bytes, more than 100"),
    ]


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "jsonl", "memory"])
def test_a_table_names_the_media_of_each_item_relative_to_itself(tmp_path, form, monkeypatch):
    data = dataset("1", "2", "3")
    touched(tmp_path, "files/a.jpg", "files/b.mp4", "files/c.wav", "files/d.jpg")
    table = pl.DataFrame(
        {
            "item_id": ["1", "2", "1", "9"],
            "image": ["files/a.jpg", None, "files/d.jpg", "files/a.jpg"],
            "video": ["files/b.mp4", "", None, None],
            "audio": [None, str(tmp_path / "files/c.wav"), None, None],
            "text": ["a dress", None, "blue", "lost"],
            "price": [1, 2, 3, 4],
        }
    )
    path = tmp_path / f"media.{form}"
    if form == "csv":
        table.write_csv(path)
    elif form == "tsv":
        table.write_csv(path, separator="\t")
    elif form == "parquet":
        table.write_parquet(path)
    elif form == "jsonl":
        table.write_ndjson(path)
    else:
        monkeypatch.chdir(tmp_path)
    found = find_media(data, table if form == "memory" else path)
    folder = Path() if form == "memory" else tmp_path
    assert found.media == {
        0: ItemMedia(
            images=(folder / "files/a.jpg", folder / "files/d.jpg"),
            videos=(folder / "files/b.mp4",),
            texts=("a dress", "blue"),
        ),
        1: ItemMedia(audios=(tmp_path / "files/c.wav",)),
    }
    assert found.unmatched == ["files/a.jpg"]
    assert found.problems == []
    assert found.notes == [
        "columns of the table not read: price",
        "rows of the table without an item: 1, for example '9'",
        "files without an item: 1, for example files/a.jpg",
    ]


def test_a_table_may_have_lists_of_paths_and_numbers_as_ids(tmp_path):
    data = dataset("1", "2")
    touched(tmp_path, "a.jpg", "b.jpg")
    table = pl.DataFrame({"item_id": [1, 2], "images": [["a.jpg", "b.jpg", "a.jpg"], None], "image": [None, "b.jpg"]})
    table.write_parquet(tmp_path / "media.parquet")
    found = find_media(data, tmp_path / "media.parquet")
    assert found.media == {
        0: ItemMedia(images=(tmp_path / "a.jpg", tmp_path / "b.jpg")),
        1: ItemMedia(images=(tmp_path / "b.jpg",)),
    }


def test_paths_of_a_table_that_cannot_be_read_are_problems_of_their_items(tmp_path):
    data = dataset("1", "2", "3", "4")
    (tmp_path / "folder.jpg").mkdir()
    paths = ["absent.jpg", "folder.jpg", "https://example.org/a.jpg", "a\0b.jpg"]
    pl.DataFrame({"item_id": ["1", "2", "3", "4"], "image": paths}).write_parquet(tmp_path / "media.parquet")
    found = find_media(data, tmp_path / "media.parquet")
    assert found.media == {}
    assert {(problem.item, problem.reason) for problem in found.problems} == {
        (0, "no such file"),
        (1, "not a regular file"),
        (2, "a web address: download the file first"),
        (3, "unreadable: embedded null byte"),
    }


def test_lost_zeros_of_a_table_are_repaired_and_said_too(tmp_path):
    touched(tmp_path, "a.jpg")
    table = pl.DataFrame({"item_id": ["007"], "image": [str(tmp_path / "a.jpg")]})
    found = find_media(dataset("7"), table)
    assert found.media == {0: ItemMedia(images=(tmp_path / "a.jpg",))}
    assert "id_rule='strip-zeros'" in found.notes[0]


def test_text_comes_from_columns_of_the_items():
    data = dataset(
        "1", "2", "3", "4",
        title=[" Blue Dress ", "Trousers", None, "  "],
        genres=[["Action", "Comedy"], ["Drama"], [], ["War"]],
        year=[1995, None, 2001, None],
    )  # fmt: skip
    texts = {row: each.texts for row, each in find_media(data, None, text=["title"]).media.items()}
    assert texts == {0: (str(data.item_table["title"][0]),), 1: ("Trousers",)}
    texts = {row: each.texts for row, each in find_media(data, None, text=["title", "genres", "year"]).media.items()}
    assert texts == {
        0: (f"{data.item_table['title'][0]}. Action, Comedy. 1995",),
        1: ("Trousers. Drama",),
        2: ("2001",),
        3: ("War",),
    }


def test_text_of_columns_joins_the_text_of_files(tmp_path):
    data = dataset("1", title=["Dress"])
    (tmp_path / "1.txt").write_text("blue")
    assert find_media(data, tmp_path, text=["title"]).media == {0: ItemMedia(texts=("blue", "Dress"))}


@pytest.mark.parametrize(
    ("media", "options", "message"),
    [
        (None, {}, "no media"),
        (Path("absent"), {}, "expected a folder or a table"),
        (17, {}, "expected a path, a polars data frame or None"),
        (pl.DataFrame({"item_id": ["1"], "picture": ["a.jpg"]}), {}, "no column of media"),
        (pl.DataFrame({"image": ["a.jpg"]}), {}, "no item column"),
        (pl.DataFrame({"item_id": ["1"], "image": [5]}), {}, "column 'image': expected text"),
        (None, {"text": ["titel"]}, "no column 'titel' of the items: expected some of item_id, title"),
        (None, {"text": "title"}, "columns of text: expected a list of names"),
        (None, {"text": ["title"], "id_rule": "guess"}, "id_rule: expected exact or strip-zeros"),
    ],
)
def test_what_cannot_be_read_says_what_is_expected(media, options, message):
    with pytest.raises(InputError, match=message):
        find_media(dataset("1", title=["Dress"]), media, **options)


def test_a_hundred_thousand_names_are_matched_in_seconds():
    names = [Name(f"{number}.jpg", f"{number}.jpg", str(number), ("images",)) for number in range(100_000)]
    begin = time.process_time()
    matches = Matcher([str(number) for number in range(0, 100_000, 2)], "auto").match(names)
    assert sum(row is not None for row in matches.rows) == 50_000
    assert time.process_time() - begin < 10


def test_the_photographs_of_a_shop_find_their_articles_though_a_zero_is_lost(data_folder):
    articles = pl.read_parquet(data_folder / "hm" / "articles.parquet")
    log = pl.read_parquet(data_folder / "hm" / "transactions.parquet")
    data = Dataset.from_frames(
        log.select(user_id="customer_id", item_id="article_id"), items=articles.rename({"article_id": "item_id"})
    )
    text = ["prod_name", "product_type_name", "detail_desc"]
    found = find_media(data, data_folder / "hm" / "images", text=text)
    assert len(found.media) == 1000
    assert sum(len(each.images) for each in found.media.values()) == 100
    assert (
        "ids repaired by id_rule='strip-zeros': 100 of 100 names match an item id without leading zeros, "
        "no two ids the same item; none matches exactly. For example 0255396018.jpg is item '255396018'"
    ) in found.notes
    exact = find_media(data, data_folder / "hm" / "images", id_rule="exact")
    assert exact.media == {}
    assert exact.notes[0] == (
        "0255396018.jpg: 100 of 100 names match an item id without leading zeros: id_rule='strip-zeros'"
    )
