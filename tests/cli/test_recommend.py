"""medley recommend and medley similar, on a run and on a bundle."""

import json
import subprocess
import sys

import polars as pl
import pytest
from tests.cli import running
from tests.cli.running import printed

import medley
from medley.serving.http.settings import store_beside
from medley.serving.requests import Event, RecommendRequest
from medley.serving.service import Service
from medley.types import Embeddings


class Fading(medley.Recommender):
    """A model of another package whose score only a function knows, and that can be made to fail."""

    reads_features = False
    fails = False

    def __init__(self, inputs):
        super().__init__(inputs)
        self.inner = medley.models.build("mf", inputs, dim=4)

    def scorer(self):
        user, item = Embeddings(self.inner.p, self.inner.q)
        return lambda users: (user[users] @ item.T).tanh()

    def loss(self, batch):
        return self.inner.loss(batch) * (float("nan") if self.fails else 1.0)


@pytest.fixture(scope="module")
def run(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend") / "run"
    medley.train("mmgcn", simulated, out=folder, dim=8, num_epochs=2, progress=False)
    return folder


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("recommend") / "shop.medley"
    medley.export(medley.Run(run), out=path)
    return path


def items_of(text: str) -> list[tuple[str, float]]:
    return [(item["item"], pytest.approx(item["score"], rel=1e-5)) for item in json.loads(text)["items"]]


def test_a_run_its_bundle_and_the_service_give_the_same_lists(run, bundle, simulated):
    service = Service.open(bundle)
    for row in (0, 7, 31):
        user = simulated.users.raw_id(row)
        asked = ("--user", user, "-k", 5, "--explain", "--json")
        by_run, by_bundle = (json.loads(printed("recommend", each, *asked)) for each in (run, bundle))
        assert by_run.pop("about_user") and all(item.pop("about_item") is not None for item in by_run["items"])
        assert by_run == by_bundle
        answer = service.recommend(RecommendRequest(user=user, k=5, explain=True))
        assert [(item["item"], item["score"]) for item in by_bundle["items"]] == [(i.id, i.score) for i in answer.items]
        assert [item["shares"] for item in by_bundle["items"]] == [
            pytest.approx(item.why.shares, abs=1e-5) for item in answer.items
        ]


def test_everybody_is_written_in_blocks_by_a_run_and_a_bundle(run, bundle, simulated, tmp_path):
    for number, asked in enumerate((run, bundle)):
        out = tmp_path / f"{number}.parquet"
        title = simulated.title(3)
        printed("recommend", asked, "--all", "-k", 4, "--out", out, "--where", f"title={title}", "--include-seen")
        table = pl.read_parquet(out)
        assert set(table["title"]) == {title} and table["user_id"].n_unique() == simulated.manifest.num_users
    assert pl.read_parquet(tmp_path / "0.parquet").equals(pl.read_parquet(tmp_path / "1.parquet"))


def test_what_a_server_has_taken_in_since_is_in_the_answer_of_its_bundle(bundle, simulated):
    user = simulated.users.raw_id(12)
    (first, _), (second, _) = items_of(printed("recommend", bundle, "--user", user, "-k", 2, "--json"))
    service = Service.open(bundle, store=store_beside(bundle))
    try:
        service.feedback([Event(user=user, item=first, type="dislike")])
        service.delete_item(second)
        expected = [item.id for item in service.recommend(RecommendRequest(user=user, k=4)).items]
    finally:
        service.close()
    try:
        found = items_of(printed("recommend", bundle, "--user", user, "-k", 4, "--json"))
        assert [item for item, _ in found] == expected and not {first, second} & set(expected)
        given = printed("recommend", bundle, "--store", store_beside(bundle), "--user", user, "-k", 4, "--json")
        assert items_of(given) == found
        assert second not in printed("similar", bundle, "--item", first, "-k", 99, "--json")
    finally:
        store_beside(bundle).unlink()


def test_similar_lists_items_by_behaviour_by_modality_and_by_all(run, bundle, simulated):
    item = simulated.items.raw_id(20)
    lists = {}
    for by in ("behaviour", "visual", "all"):
        asked = ("--item", item, "--by", by, "-k", 6, "--json")
        lists[by] = printed("similar", run, *asked)
        assert items_of(lists[by]) == items_of(printed("similar", bundle, *asked))
        document = json.loads(lists[by])
        assert (document["model"], document["item"], document["by"]) == ("mmgcn", item, by)
        assert len(document["items"]) == 6 and document["items"][0]["title"]
    assert len({text.split('"items"')[1] for text in lists.values()}) == 3
    shown = printed("similar", bundle, "--item", item, "-k", 3)
    assert json.loads(lists["all"])["items"][0]["title"] in " ".join(shown.split()) and "similarity" in shown


def test_a_bundle_is_asked_without_torch(bundle, simulated, tmp_path):
    script = f"""if True:
        import sys
        from medley.cli import main
        for words in (["recommend", "--all", "--explain", "--out", {str(tmp_path / "a.parquet")!r}],
                      ["recommend", "--user", {simulated.users.raw_id(1)!r}, "--explain"],
                      ["similar", "--item", {simulated.items.raw_id(1)!r}]):
            sys.argv = ["medley", words[0], {str(bundle)!r}, *words[1:]]
            try:
                main()
            except SystemExit as done:
                assert not done.code
        assert "torch" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.parquet").exists() and "of the score" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "{bundle}", "--user", "nobody"], "unknown user id: got 'nobody'"),
        (["recommend", "{bundle}", "--user", "u00001", "--dataset", "{tmp}"], "a bundle needs no data set"),
        (["recommend", "{bundle}", "--user", "u00001", "--store", "{tmp}/none"], "no store"),
        (["similar", "{bundle}", "--item", "v00001", "--store", "{tmp}/none"], "no store"),
        (["recommend", "{run}", "--user", "u00001", "--store", "{tmp}/none"], "--store: expected a bundle"),
        (["recommend", "{tmp}", "--user", "u00001"], "not a run and not a bundle: got a folder without"),
        (["recommend", "{tmp}/none.medley", "--user", "u00001"], "not a run and not a bundle: got no such file"),
        (["recommend", "{bundle}", "--all", "--out", "{tmp}/a.xls"], "expected .csv or .parquet or .jsonl"),
        (["recommend", "{bundle}", "--all", "--where", "colour=red"], "column of the items: expected item_id"),
        (["similar", "{bundle}", "--item", "nothing"], "unknown item id: got 'nothing'"),
        (["similar", "{run}", "--item", "v00001", "--by", "smell"], "by: expected behaviour or visual"),
        (["similar", "{run}"], "--item"),
    ],
)
def test_a_wrong_question_gets_one_sentence(words, message, run, bundle, tmp_path):
    places = {"run": run, "bundle": bundle, "tmp": tmp_path}
    error = printed(*(word.format(**places) for word in words), exit_code=2)
    assert message in " ".join(error.split()) and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_exported_and_a_failed_run_recommend(simulated, tmp_path, monkeypatch):
    medley.train(Fading, simulated, out=tmp_path / "run", num_epochs=1, progress=False)
    user = simulated.users.raw_id(4)
    done = running.medley("recommend", tmp_path / "run", "--user", user, "-k", 3, "--json")
    found = json.loads(done.stdout)["items"]
    assert len(found) == 3 and 1 > found[0]["score"] >= found[1]["score"] and not done.stderr
    assert printed("recommend", tmp_path / "run", "--all", "-k", 1, "--out", tmp_path / "lists.csv")
    assert pl.read_csv(tmp_path / "lists.csv").height == simulated.manifest.num_users
    monkeypatch.setattr(Fading, "fails", True)
    with pytest.raises(medley.errors.TrainingError):
        medley.train(Fading, simulated, out=tmp_path / "failed", num_epochs=1, progress=False)
    done = running.medley("recommend", tmp_path / "failed", "--user", user)
    assert done.returncode == 0
    assert "Note: the training of this run failed, the weights are of epoch 0" in done.stderr
