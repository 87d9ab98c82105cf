"""Runs every import that docs/data.md shows: on small files of the same kind, and on the public data sets."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from tests.cli import running

from medley.data.dataset import Dataset

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
PUBLIC = re.search(r"^## Public data sets\n(.*?)^## ", PAGE, re.M | re.S)[1]
IMPORTS = [line.strip() for line in PAGE.splitlines() if re.match(r"    medley import (?!FORMAT)", line)]
FILES = {
    "reviews.jsonl": '{"reviewerID": "A", "asin": "B"}\n{"reviewerID": "C", "asin": "B"}\n',
    "clips/pairs.tsv": "1\t1958 6346 15223\n2\t16657 915\n",
    "video/Video.txt": "1 5\n1 6\n2 5\n",
    "mlsmall/ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,3,2.0,964981247\n2,3,5.0,964982224\n",
    "mlsmall/movies.csv": "movieId,title\n1,Toy Story (1995)\n3,Grumpier Old Men (1995)\n",
    "filmtrust/ratings.txt": "1 1 2\n1 12 3.5\n2 1 4\n3 5 1\n",
    "lastfm/lastfm.inter": "userID\titemID\tx_label\n0\t0\t0\n0\t1\t0\n1\t2\t1\n1\t0\t2\n",
    "anime/rating.csv": "user_id,anime_id,rating\na,1,5\nb,2,3\n",
    "anime/anime.csv": "mal_id,label\n1,One\n2,Two\n",
    "steam/steam.csv": "user,title,event\n1,Skyrim,purchase\n1,Skyrim,play\n2,Fallout 4,play\n2,Skyrim,view\n",
    "partial/interactions.csv": "user_id,item_id\na,x\nb,y\nc,z\nd\n",
    "partial/items.csv": "item_id,title\nx,X\ny,Y\n",
    "shop/interactions.csv": "user_id,item_id,timestamp,rating\nann,b17,1717243200,5\nbob,b02,1717243201,4\n",
}
ARRAYS = {"lastfm/all-MiniLM-L6-v2.npy": (3, 4), "lastfm/vggish.npy": (3, 2)}


def run(command: str, folder: Path, monkeypatch) -> str:
    monkeypatch.chdir(folder)
    done = running.medley(*shlex.split(command)[1:])
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout + done.stderr


def test_the_page_shows_every_format_and_every_option():
    from medley.cli.options import FLAGS
    from medley.data.import_options import ImportOptions

    shown = {name for name in ImportOptions.model_fields if f"--{name.replace('_', '-')}" in PAGE or name == "name"}
    assert set(ImportOptions.model_fields) - shown == set()
    assert set(ImportOptions.model_fields) <= set(FLAGS)


@pytest.mark.parametrize("command", [each for each in IMPORTS if each not in PUBLIC and "ml-100k" not in each])
def test_the_examples_run_as_they_stand(command, tmp_path, monkeypatch):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    for name, shape in ARRAYS.items():
        np.save(tmp_path / name, np.ones(shape, dtype=np.float32))
    shown = run(command, tmp_path, monkeypatch)
    if "--out" in command:
        out = tmp_path / command.split("--out ")[1].split()[0]
        assert len(Dataset(out, verify=True).log)
        assert "interactions" in run(f"medley inspect {out}", tmp_path, monkeypatch)
    else:
        assert shown.splitlines()[-1].startswith("medley import csv mlsmall")


@pytest.mark.parametrize("command", [each for each in IMPORTS if each in PUBLIC])
def test_the_public_data_sets_are_imported_inspected_trained_and_recommended_by_the_printed_commands(
    command, data_folder, tmp_path, monkeypatch
):
    _, _, _, source, _, out, *_ = shlex.split(command)
    if not (data_folder / source).is_dir():
        pytest.skip(f"no {source} in {data_folder}")
    (tmp_path / source).symlink_to(data_folder / source)
    run(command, tmp_path, monkeypatch)
    data = Dataset(tmp_path / out, verify=True)
    expected = {
        "tiktok": (68_722, ["acoustic", "visual"], None),
        "lfm2k": (56_345, ["textual", "acoustic", "speech"], None),
        "ml-100k": (55_375, [], "Toy Story"),
        "microlens-50k": (359_708, [], "Gu long song gaga bad"),
        "hm": (4_977, [], None),
    }[source]
    assert (len(data.log), list(data.manifest.modalities)) == expected[:2]
    if expected[2]:
        assert (data.title(data.items.row(1)) or "").startswith(expected[2])
    assert ("title" in data.item_table.columns) == (source in ("ml-100k", "microlens-50k", "hm"))
    user = data.users.raw_id(int(data.train.user[0]))
    for following, shown in (
        (f"medley inspect {out} --verify", "interactions"),
        (f"medley train mf {out} --out run --set num_epochs=1 --set dim=8", "medley evaluate run"),
        ("medley evaluate run", "recall"),
        (f"medley recommend run --user {user} -k 3", f"user {user}"),
    ):
        assert shown in run(following, tmp_path, monkeypatch)
