"""The commands: exit codes, one JSON document on standard output, no traceback for a mistake."""

import json
import subprocess
import sys

import polars as pl
import pytest
from tests.cli import running

from medley.data.dataset import Dataset
from medley.models import MODELS
from medley.runs import Run


def medley(*arguments: object, ok: bool = True) -> running.Done:
    """Runs a command, which succeeds or does not."""
    done = running.medley(*arguments)
    assert (done.returncode == 0) == ok, done.stderr
    return done


@pytest.fixture(scope="module")
def run(simulated: Dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "mmgcn"
    options = ["-s", "dim=8", "-s", "num_epochs=3", "-s", "lr=0.01", "--seed", "1"]
    done = medley("train", "mmgcn", simulated.folder, "--out", folder, *options, "--json")
    document = json.loads(done.stdout)
    assert document["num_epochs"] == 3 and document["metric"] == "recall@20" and "recall@20" in done.stderr
    return folder


def test_evaluate_prints_one_document_and_keeps_it_in_the_run(run):
    document = json.loads(medley("evaluate", run, "--json", "--at", "5,20").stdout)
    assert document["model"] == "mmgcn" and document["split"] == "test"
    assert {"recall@5", "ndcg@20", "precision@20", "map@5", "mrr@20", "hit_rate@5"} <= document["metrics"].keys()
    assert document["num_users"] > 0 and len(document["fingerprint"]) == 64
    assert json.loads((run / "test.json").read_text())["metrics"] == document["metrics"]


def test_recommend_gives_raw_ids_titles_scores_and_shares(run, simulated):
    user = simulated.users.raw_id(3)
    document = json.loads(medley("recommend", run, "--user", user, "-k", 4, "--explain", "--json").stdout)
    assert len(document["items"]) == 4
    for item in document["items"]:
        assert item["title"] == simulated.title(simulated.items.row(item["item"]))
        assert sum(item["parts"].values()) == pytest.approx(item["score"], rel=1e-3, abs=1e-4)
        assert sum(map(abs, item["shares"].values())) == pytest.approx(1)
    seen = simulated.log.filter(simulated.log["user"] == 3)["item"].to_list()
    assert not {simulated.items.row(item["item"]) for item in document["items"]} & set(seen)


def test_an_explanation_shows_findings_about_user_and_items(simulated, tmp_path):
    run, user = tmp_path / "ludp", simulated.users.raw_id(3)
    options = ["-s", "dim=8", "-s", "num_epochs=1", "-s", "modalities=visual,textual"]
    medley("train", "ludp", simulated.folder, "--out", run, *options)
    document = json.loads(medley("recommend", run, "--user", user, "-k", 2, "--explain", "--json").stdout)
    apart, attention = document["about_user"]
    assert {each["key"] for each in apart["weights"]} == {"id", "visual", "textual"}
    assert sum(each["weight"] for each in attention["weights"]) == pytest.approx(1)
    for item in document["items"]:
        (attention,) = item["about_item"]
        assert {each["key"] for each in attention["weights"]} == {"visual", "textual"}
    shown = medley("recommend", run, "--user", user, "-k", 2, "--explain").stdout
    for text in (f"learned about user {user}", apart["topic"], attention["topic"], document["items"][0]["title"]):
        assert text in " ".join(shown.split())
    assert "about_user" not in json.loads(medley("recommend", run, "--user", user, "--json").stdout)


def test_options_about_features_are_shown_and_checked(simulated, tmp_path):
    (described,) = json.loads(medley("models", "vbpr", "--json").stdout)["models"]
    assert described["options"]["random_features"] == {"type": "bool", "default": False}
    assert "modalities" in medley("models", "vbpr").stdout and "modalities" not in medley("models", "mf").stdout
    for model, option, message in (
        ("vbpr", "modalities=smell", "expected visual or acoustic or textual, got 'smell'"),
        ("mf", "random_features=true", "expected a model that reads item features, got mf"),
    ):
        done = medley("train", model, simulated.folder, "--out", tmp_path / "run", "-s", option, ok=False)
        assert done.returncode == 2 and message in done.stderr and not (tmp_path / "run").exists()


def test_compare_refuses_unlike_evaluations_and_tests_like_ones(run, simulated, tmp_path):
    medley("train", "popularity", simulated.folder, "--out", tmp_path / "popularity")
    for folder in (run, tmp_path / "popularity"):
        medley("evaluate", folder)
    rows = json.loads(medley("compare", tmp_path / "popularity", run, "--json").stdout)["runs"]
    assert [row["model"] for row in rows] == ["popularity", "mmgcn"]
    assert rows[0]["p_value"] is None and 0 < rows[1]["p_value"] <= 1
    difference = rows[1]["metrics"]["recall@20"] - rows[0]["metrics"]["recall@20"]
    assert rows[1]["difference"]["mean"] == pytest.approx(difference)
    for seed, folder in enumerate((run, tmp_path / "popularity")):
        medley("evaluate", folder, "--candidates", "sampled-20", "--seed", seed)
    refused = medley("compare", tmp_path / "popularity", run, "--candidates", "sampled-20", ok=False)
    assert refused.returncode == 2 and "seed" in refused.stderr


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("macridvae", ["dim=8", "num_epochs=2", "lr=0.01"]),
        ("itemknn", []),
        ("itemknn", ["similarity=content"]),
        ("ease", []),
    ],
)
def test_models_whose_score_is_not_an_inner_product_need_no_special_care(model, options, simulated, tmp_path):
    settings = [word for option in options for word in ("-s", option)]
    medley("train", "popularity", simulated.folder, "--out", tmp_path / "popularity")
    medley("train", model, simulated.folder, "--out", tmp_path / "run", *settings)
    for folder in ("popularity", "run"):
        medley("evaluate", tmp_path / folder)
    rows = json.loads(medley("compare", tmp_path / "popularity", tmp_path / "run", "--json").stdout)["runs"]
    assert rows[1]["model"] == model and rows[1]["metrics"]["recall@20"] > 0
    user = simulated.users.raw_id(3)
    document = json.loads(medley("recommend", tmp_path / "run", "--user", user, "-k", 4, "--explain", "--json").stdout)
    scores = [item["score"] for item in document["items"]]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    names = set(simulated.manifest.modalities) if "similarity=content" in options else set()
    for item in document["items"]:
        assert item["parts"].keys() == names
        assert not names or sum(item["parts"].values()) == pytest.approx(item["score"], rel=1e-4)
    report = pytest.importorskip("medley.report.page", exc_type=ImportError)
    report.write_report(
        tmp_path / "report.html", [Run(tmp_path / folder) for folder in ("popularity", "run")], simulated
    )
    assert MODELS[model].__name__ in (tmp_path / "report.html").read_text()


def test_models_lists_every_model_with_options_and_paper():
    models = {model["name"]: model for model in json.loads(medley("models", "--json").stdout)["models"]}
    assert {"mf", "vbpr", "lightgcn", "mmgcn"} <= models.keys()
    assert models["mmgcn"]["options"]["num_layers"]["default"] == 2
    assert "MM 2019" in models["mmgcn"]["paper"]


def test_simulate_and_inspect_print_the_same_statistics(tmp_path):
    sizes = ["-s", "num_users=30", "-s", "num_items=40", "-s", "num_interactions=250"]
    made = json.loads(medley("simulate", "demo", "--out", tmp_path / "data", *sizes, "--json").stdout)
    seen = json.loads(medley("inspect", tmp_path / "data", "--verify", "--json").stdout)
    assert made == seen and made["interactions"] == 250


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "ncf", "{data}", "--out", "{tmp}/run"], 2, "unknown model: expected mosaic or popularity or mf"),
        (["train", "mf", "{tmp}/nothing", "--out", "{tmp}/run"], 2, "not a data set folder: got no manifest.json"),
        (["train", "mf", "{data}", "--out", "{tmp}/run", "-s", "dim"], 2, "--set: expected key=value, got 'dim'"),
        (
            ["train", "mf", "{data}", "--out", "{tmp}/run", "-s", "dims=3"],
            2,
            "the options of mf are dim, reg; the settings are lr",
        ),
        (["train", "mf", "{data}", "--out", "{run}"], 2, "holds a run already"),
        (["evaluate", "{tmp}"], 2, "run.json: the file does not exist"),
        (["evaluate", "{run}", "--at", "0"], 2, "--at: expected whole numbers of at least 1"),
        (["evaluate", "{run}", "--split", "train"], 2, "expected valid or test"),
        (["recommend", "{run}", "--user", "nobody"], 2, "unknown user id: got 'nobody'"),
        (["simulate", "demo", "--out", "{data}"], 2, "pass --overwrite"),
        (["train", "mf", "{data}", "--out", "{run}", "--seed", "1"], 2, "continue this run: --resume"),
        (["train", "mf", "{data}", "-o", "{tmp}/run", "--seed", "1", "-s", "seed=2"], 2, "two values of seed"),
        (["train", "{data}", "--out", "{tmp}/run"], 2, "MODEL DATASET, or --recipe RECIPE DATASET"),
        (["train", "--recipe", "mmgcn", "{data}", "--out", "{tmp}/run"], 2, "unknown recipe: expected mmgcn/kwai or"),
        (["simulate", "mars", "--out", "{tmp}/data"], 2, "preset: expected demo"),
        (["import", "xml", "{data}", "--out", "{tmp}/data"], 2, "csv"),
        (["recommend", "{run}"], 2, "--user"),
        (["fly"], 2, "No such command"),
    ],
)
def test_a_mistake_gets_one_sentence_and_the_right_exit_code(arguments, code, message, run, simulated, tmp_path):
    places = {"data": simulated.folder, "run": run, "tmp": tmp_path}
    done = medley(*(argument.format(**places) for argument in arguments), ok=False)
    assert done.returncode == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def test_debug_shows_the_traceback_of_a_mistake(tmp_path):
    assert "Traceback" in medley("evaluate", tmp_path, "--debug", ok=False).stderr


SMALL = ["-s", "num_users=60", "-s", "num_items=90", "-s", "num_interactions=1200"]


def test_a_data_set_that_changed_after_training_is_refused(run, tmp_path):
    medley("simulate", "demo", "--out", tmp_path / "other", *SMALL)
    done = medley("evaluate", run, "--dataset", tmp_path / "other", ok=False)
    assert done.returncode == 2 and "not the data set that the run was trained on" in done.stderr


def test_the_command_line_is_there_as_a_module_too():
    done = subprocess.run([sys.executable, "-m", "medley", "models", "mf"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, medley("models", "mf").stdout)


def test_help_is_quick_because_torch_is_not_imported_for_it():
    script = """if True:
        import sys
        from medley.cli import main
        sys.argv = ["medley", "--help"]
        try:
            main()
        finally:
            assert "torch" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "recommend" in done.stdout


def test_recommend_serves_many_users_to_a_file_with_filters(run, simulated, tmp_path):
    users = [simulated.users.raw_id(row) for row in (3, 5, 8)]
    asked = [word for user in users for word in ("--user", user)]
    documents = json.loads(medley("recommend", run, *asked, "-k", 2, "--json").stdout)
    assert [document["user"] for document in documents] == users
    (tmp_path / "users.txt").write_text("\n".join([*users, users[0], ""]))
    out = tmp_path / "lists.csv"
    done = medley("recommend", run, "--users", tmp_path / "users.txt", "-k", 2, "--out", out)
    assert "6 items for 3 users" in done.stdout
    lines = out.read_text().splitlines()
    assert lines[0] == "user_id,place,item_id,title,score" and len(lines) == 7
    assert [line.split(",")[2] for line in lines[1:]] == [i["item"] for d in documents for i in d["items"]]
    medley("recommend", run, "--all", "-k", 1, "--out", tmp_path / "all.parquet")
    assert len(pl.read_parquet(tmp_path / "all.parquet")) == simulated.manifest.num_users
    title = documents[0]["items"][0]["title"]
    kept = json.loads(medley("recommend", run, "--user", users[0], "--where", f"title={title}", "--json").stdout)[
        "items"
    ]
    assert {item["title"] for item in kept} == {title}
    left = json.loads(
        medley("recommend", run, "--user", users[0], "--exclude", documents[0]["items"][0]["item"], "--json").stdout
    )
    assert left["items"][0]["item"] == documents[0]["items"][1]["item"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of --user, --users FILE and --all"),
        (["--all", "--user", "u"], "one of --user, --users FILE and --all"),
        (["--users", "{tmp}/none.txt"], "the file of users"),
        (["--all", "--where", "colour"], "--where: expected COLUMN=VALUE, got 'colour'"),
        (["--all", "--where", "colour=red"], "column of the items: expected item_id"),
        (["--all", "--exclude", "nothing"], "unknown item id"),
        (["--all", "--out", "{tmp}/lists.xls"], "expected .csv or .parquet or .jsonl"),
    ],
)
def test_a_wrong_question_gets_one_sentence(words, message, run, tmp_path):
    done = medley("recommend", run, *(word.format(tmp=tmp_path) for word in words), ok=False)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
