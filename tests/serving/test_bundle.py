"""The file format: what is written is read, without torch; what is damaged, changed or newer is refused."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from medley import models
from medley.errors import InputError
from medley.serving import bundle_files
from medley.serving.bundle import Bundle
from medley.serving.export import export

KINDS = {
    "vgcn": ("mmgcn", {"dim": 8}),
    "ease": ("ease", {}),
    "knn": ("itemknn", {"k": 5}),
    "vae": ("macridvae", {"dim": 8}),
}


@pytest.fixture(scope="module")
def bundles(simulated):
    return {key: export(models.build(name, simulated.inputs(), **o), simulated) for key, (name, o) in KINDS.items()}


@pytest.fixture
def folder(bundles, tmp_path):
    bundles["vgcn"].write(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.mark.parametrize("name", ["shop.medley", "shop"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_is_read_as_it_was_written(bundles, kind, name, tmp_path):
    written = bundles[kind]
    written.write(tmp_path / name)
    read = Bundle.read(tmp_path / name)
    assert read.manifest == written.manifest and len(read.manifest.model_version) == 64
    users = np.arange(7)
    queries = read.scores.queries(users)
    np.testing.assert_array_equal(queries, written.scores.queries(users))
    np.testing.assert_array_equal(read.scores.scores(queries), written.scores.scores(queries))
    np.testing.assert_array_equal(read.seen.toarray(), written.seen.toarray())
    assert read.users.equals(written.users) and read.items.equals(written.items)
    own = {m: f.values[4] for m, f in read.features.items() if f.present[4]}
    np.testing.assert_array_equal(read.embed(own).vector, written.embed(own).vector)
    history = read.history(5)
    np.testing.assert_array_equal(read.fold_in(history), written.fold_in(history))


@pytest.mark.parametrize("scale", ["standard", "pca-whitening-4"])
def test_the_content_path_of_new_items_is_read_as_it_was_written(scale, simulated, tmp_path):
    written = export(models.build("vbpr", simulated.inputs(), dim=8, feature_scale=scale), simulated)
    written.write(tmp_path / "shop")
    read = Bundle.read(tmp_path / "shop")
    own = {m: f.values[4] for m, f in read.features.items() if f.present[4]}
    np.testing.assert_array_equal(read.embed(own).vector, written.embed(own).vector)
    assert read.new_item_rule.content is not None


def test_arrays_of_a_zip_are_memory_mapped_at_aligned_places(bundles, tmp_path):
    bundles["vgcn"].write(tmp_path / "shop.medley")
    read = Bundle.read(tmp_path / "shop.medley")
    for array in (read.user, read.item, *(f.values for f in read.features.values())):
        assert isinstance(array, np.memmap) and array.offset % 64 == 0 and array.flags.aligned
    with zipfile.ZipFile(tmp_path / "shop.medley") as archive:
        assert archive.testzip() is None and {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not [
            name for name in archive.namelist() if not name.endswith((".json", ".npy", ".parquet", ".safetensors"))
        ]


def test_equal_bundles_are_equal_files(bundles, tmp_path):
    for name in ("one.medley", "two.medley"):
        bundles["knn"].write(tmp_path / name)
    assert (tmp_path / "one.medley").read_bytes() == (tmp_path / "two.medley").read_bytes()


def test_reading_a_bundle_imports_no_torch(bundles, tmp_path):
    bundles["vgcn"].write(tmp_path / "shop.medley")
    code = (
        "import sys; from medley.serving.bundle import Bundle; b = Bundle.read(sys.argv[1]);"
        "q = b.fold_in(b.history(0)); b.scores.scores(q[None]); b.embed({});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "shop.medley"], check=False).returncode == 0


def test_every_changed_byte_of_every_file_is_found(folder):
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError):
            Bundle.read(folder)
        path.write_bytes(content)
    Bundle.read(folder)


def test_a_changed_figure_in_the_manifest_is_found(folder):
    document = json.loads((folder / "manifest.json").read_text())
    document["metrics"] = {"test": {"recall@20": 0.99}}
    (folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="changed"):
        Bundle.read(folder)


def test_a_missing_and_a_shortened_file_are_found_also_without_verification(folder):
    path = folder / "scores" / "item.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"scores/item.npy.*expected [\d,]+ bytes"):
        Bundle.read(folder, verify=False)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        Bundle.read(folder, verify=False)


def test_a_newer_format_says_to_upgrade(folder):
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**document, "format_version": 2, "new_field": 1}))
    with pytest.raises(InputError, match=r"expected 1, got 2.*newer Medley"):
        Bundle.read(folder)


def test_a_bundle_from_before_the_offset_of_new_items_says_to_export_again(bundles, tmp_path, monkeypatch):
    written = bundles["vgcn"]
    monkeypatch.setattr(bundle_files, "PLAIN", ("known", "centre"))
    files = bundle_files.records(written)
    manifest = written.manifest.model_copy(update={"files": files})
    old = replace(written, manifest=manifest.model_copy(update={"model_version": manifest.version()}))
    old.write(tmp_path / "old.medley")
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"no offset, as in bundles of an earlier version\. Remedy: export the bundle"):
        Bundle.read(tmp_path / "old.medley")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_zip_that_is_cut_short_is_refused(bundles, share, tmp_path):
    path = tmp_path / "shop.medley"
    bundles["ease"].write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="damaged"):
        Bundle.read(path)


def test_what_is_not_a_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Bundle.read(tmp_path / "gone.medley")
    with pytest.raises(InputError, match="not a bundle"):
        Bundle.read(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "{}" * 100)
    with pytest.raises(InputError, match="compressed"):
        Bundle.read(tmp_path / "other.zip")


def test_names_that_leave_the_folder_are_refused(folder):
    text = (folder / "manifest.json").read_text().replace('"users.parquet"', '"../users.parquet"')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="plain file name"):
        Bundle.read(folder)


def test_writing_replaces_only_when_asked(bundles, tmp_path):
    for name in ("shop.medley", "shop"):
        bundles["knn"].write(tmp_path / name)
        with pytest.raises(InputError, match="exists already"):
            bundles["knn"].write(tmp_path / name)
        bundles["ease"].write(tmp_path / name, overwrite=True)
        assert Bundle.read(tmp_path / name).manifest.model == "ease"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shop", "shop.medley"]


def test_weights_scale_the_parts_of_a_query(bundles):
    bundle = bundles["vgcn"]
    queries, vectors = bundle.scores.queries(np.arange(3)), bundle.scores.item_vectors(np.arange(5))
    parts = bundle.scores.match_parts(queries, vectors)
    changed = bundle.scores.match(bundle.weighted(queries, {"visual": 3.0, "textual": 0.0}), vectors)
    np.testing.assert_allclose(changed, 3 * parts["visual"] + parts["acoustic"], atol=1e-5)
    with pytest.raises(InputError, match="visual or acoustic or textual"):
        bundle.weighted(queries, {"smell": 1.0})


def test_the_reasons_of_item_to_item_weights_are_what_each_item_adds(bundles):
    bundle = bundles["ease"]
    query, history, vector = (
        bundle.scores.queries(np.array([4]))[0],
        bundle.history(4),
        bundle.scores.item_vectors(np.array([7]))[0],
    )
    rows, added = bundle.because(query, history, vector, k=len(history))
    weight = bundle.weights["interactions"][history, 7]
    np.testing.assert_allclose(added, np.sort(weight[weight > 0])[::-1], rtol=1e-5)
    assert set(rows) == set(history[weight > 0])


def test_the_reason_of_an_item_like_an_own_item_is_this_item(bundles):
    bundle = bundles["vgcn"]
    history = bundle.history(4)
    vector = bundle.scores.item_vectors(history[[2]])[0]
    rows, cosine = bundle.because(bundle.scores.queries(np.array([4]))[0], history, vector, k=1)
    assert rows[0] == history[2] and cosine[0] == pytest.approx(1, abs=1e-5)
