import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from medley import models
from medley.data.simulate import preset, simulate
from medley.errors import InputError, TrainingError
from medley.evaluation.evaluator import Evaluator
from medley.runs import Recipe, Run
from medley.runs.settings import TrainSettings, check_settings
from medley.training import recorder
from medley.training.device import machine
from medley.training.fit import fit
from medley.training.progress import Progress

SETTINGS = TrainSettings(lr=0.01, batch_size=256, num_epochs=6, patience=0, device="cpu")


class InterruptAfter(Progress):
    """Presses Ctrl-C when so many epochs have ended, in the middle of the next one."""

    def __init__(self, epochs: int):
        self.epochs, self.ended, self.stopped = epochs, 0, False

    def epoch(self, epoch):
        self.ended += 1

    def batch(self):
        if self.ended == self.epochs:
            raise KeyboardInterrupt

    def stop(self):
        self.stopped = True


def model_of(data, name="mf", **options):
    return models.build(name, data.inputs(), dim=8, **options)


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_epoch_on_validation_is_what_stays_in_the_model(simulated):
    model = model_of(simulated)
    history = fit(model, simulated, SETTINGS)
    evaluated = Evaluator(simulated, split="valid", at=(20,), metrics=("recall",))(model.scorer()).metrics["recall@20"]
    assert history.best == evaluated == max(epoch.metric for epoch in history.epochs)
    assert history.epochs[history.best_epoch - 1].metric == evaluated


@pytest.mark.parametrize("candidates", ["all", "sampled-20", "sampled-20-per-user"])
def test_validation_ranks_the_candidates_of_the_settings_and_the_run_records_them(simulated, tmp_path, candidates):
    model, settings = model_of(simulated), SETTINGS.model_copy(update={"candidates": candidates, "num_epochs": 2})
    history = fit(model, simulated, settings, out=tmp_path / "run")
    evaluator = Evaluator(simulated, split="valid", at=(20,), metrics=("recall",), candidates=candidates)
    assert history.best == evaluator(model.scorer()).metrics["recall@20"]
    assert Run(tmp_path / "run").record.recipe.settings.candidates == candidates


def test_validation_ranks_all_items_by_default(simulated):
    assert TrainSettings().candidates == "all"
    sampled = SETTINGS.model_copy(update={"candidates": "sampled-20", "num_epochs": 1})
    whole = fit(model_of(simulated), simulated, SETTINGS.model_copy(update={"num_epochs": 1}))
    assert fit(model_of(simulated), simulated, sampled).best > whole.best


def test_patience_ends_a_training_that_no_longer_improves(simulated):
    history = fit(model_of(simulated), simulated, SETTINGS.model_copy(update={"num_epochs": 300, "patience": 3}))
    assert history.ending == "patience"
    assert len(history.epochs) == history.best_epoch + 3


def test_the_test_split_is_never_read(simulated, monkeypatch):
    asked = []
    original = type(simulated).interactions
    monkeypatch.setattr(
        type(simulated), "interactions", lambda self, split: asked.append(split) or original(self, split)
    )
    fit(model_of(simulated), simulated, SETTINGS)
    assert set(asked) == {"train", "valid"}


def test_a_seed_gives_the_same_bits_and_leaves_the_callers_random_state_alone(simulated):
    one, other, different = model_of(simulated), model_of(simulated), model_of(simulated)
    different.spec = different.spec._replace(seed=1)  # the same parameters, other batches
    state = torch.get_rng_state()
    fit(one, simulated, SETTINGS)
    assert torch.equal(torch.get_rng_state(), state)
    fit(other, simulated, SETTINGS)
    fit(different, simulated, SETTINGS)
    assert same(weights_of(one), weights_of(other))
    assert not same(weights_of(one), weights_of(different))


@pytest.mark.parametrize("name", ["lightgcn", "mmgcn", "vbpr", "mosaic"])
def test_an_interrupted_run_that_is_resumed_ends_with_the_same_bits(simulated, tmp_path, monkeypatch, name):
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    whole = model_of(simulated, name)
    expected = fit(whole, simulated, SETTINGS, out=tmp_path / "whole")
    watcher = InterruptAfter(3)
    history = fit(model_of(simulated, name), simulated, SETTINGS, out=tmp_path / "cut", progress=watcher)
    assert history.ending == "interrupted" and watcher.stopped
    assert Run(tmp_path / "cut").record.status == "interrupted"

    resumed = model_of(simulated, name)
    history = fit(resumed, simulated, SETTINGS, out=tmp_path / "cut", resume=True)
    assert same(weights_of(resumed), weights_of(whole))
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in expected.epochs]
    lines = (tmp_path / "cut/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_after_ctrl_c_the_best_so_far_is_in_the_model_and_in_the_folder(simulated, tmp_path):
    model = model_of(simulated)
    history = fit(model, simulated, SETTINGS, out=tmp_path / "run", progress=InterruptAfter(3))
    assert len(history.epochs) == 3 and history.best_epoch > 0
    assert same(weights_of(model), weights_of(Run(tmp_path / "run").model(simulated)))


def test_a_run_that_goes_on_elsewhere_names_both_machines(simulated, tmp_path, monkeypatch):
    out = tmp_path / "run"
    fit(model_of(simulated), simulated, SETTINGS, out=out, progress=InterruptAfter(1))
    first = Run(out).record.machines
    assert first == [machine()] and ", " in first[0]
    monkeypatch.setattr("medley.training.fit.machine", lambda: "Another, no GPU")
    fit(model_of(simulated), simulated, SETTINGS, out=out, resume=True, progress=InterruptAfter(1))
    fit(model_of(simulated), simulated, SETTINGS, out=out, resume=True)
    assert Run(out).record.machines == [*first, "Another, no GPU"]


def test_a_run_killed_at_any_moment_and_resumed_ends_with_the_same_bits(simulated, tmp_path):
    script = (
        "import sys; from medley import models; from medley.data.dataset import Dataset;"
        "from medley.training import recorder; from medley.training.fit import fit;"
        "from medley.runs import TrainSettings;"
        "recorder.CHECKPOINT_SECONDS = 0.0; data = Dataset(sys.argv[1]);"
        "settings = TrainSettings(lr=0.01, batch_size=64, num_epochs=80, patience=0, device='cpu');"
        "model = models.build('lightgcn', data.inputs(), dim=8);"
        "fit(model, data, settings, out=sys.argv[2], resume=True)"
    )

    def start(folder):
        return subprocess.Popen([sys.executable, "-c", script, str(simulated.folder), str(tmp_path / folder)])

    assert start("whole").wait(120) == 0
    history = tmp_path / "cut/history.jsonl"
    kills = 0
    for lines in (3, 11, 17):  # kill -9 as soon as so many epochs are on disk, wherever the process then is
        process = start("cut")
        while process.poll() is None and (not history.exists() or history.read_text().count("\n") < lines):
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    assert start("cut").wait(120) == 0
    one, other = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    assert same(weights_of(one.model(simulated)), weights_of(other.model(simulated)))
    assert one.record.best == other.record.best
    assert not list((tmp_path / "cut").glob(".*")), "what a killed process had half-written is cleared away"


def test_a_loss_that_is_not_a_number_stops_with_an_explanation_and_keeps_the_best(simulated, tmp_path, monkeypatch):
    model = model_of(simulated)
    loss = type(model).loss
    epochs = []

    def diverging(self, batch):
        return loss(self, batch) * (float("nan") if len(epochs) >= 2 else 1.0)

    watcher = Progress()
    watcher.epoch = epochs.append
    monkeypatch.setattr(type(model), "loss", diverging)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 3.*lr is 0.01"):
        fit(model, simulated, SETTINGS, out=tmp_path / "run", progress=watcher)
    run = Run(tmp_path / "run")
    assert run.record.status == "failed" and "nan" in run.record.message and run.record.num_epochs_done == 2
    assert all(tensor.isfinite().all() for tensor in weights_of(run.model(simulated)).values())


def test_a_run_folder_says_everything_about_the_run(simulated, tmp_path):
    fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run")
    record = Run(tmp_path / "run").record
    assert record.recipe == Recipe(model="mf", options={"dim": 8, "reg": 1e-2}, settings=SETTINGS, seed=0)
    assert record.data.parts == {part: simulated.manifest.parts[part] for part in ("log", "users", "items")}
    assert record.status == "finished" and record.num_epochs_done == 6
    assert record.num_parameters == (60 + 90) * 8
    assert {"medley", "torch", "python"} <= record.versions.keys()


def test_a_model_without_parameters_is_only_validated(simulated, tmp_path):
    model = models.build("popularity", simulated.inputs())
    history = fit(model, simulated, SETTINGS, out=tmp_path / "run")
    assert history.ending == "nothing to train" and history.best > 0
    assert Run(tmp_path / "run").model(simulated) is not None


def test_a_second_run_into_the_same_folder_is_refused_and_the_first_one_left_alone(simulated, tmp_path):
    fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match="holds a run already"):
        fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_resuming_with_other_settings_is_refused(simulated, tmp_path):
    fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"the run to resume: expected lr=0.01, got lr=0.5"):
        changed = SETTINGS.model_copy(update={"lr": 0.5})
        fit(model_of(simulated), simulated, changed, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("earlier", "message"),
    [
        ({"num_epochs": 2}, "num_epochs of the run to resume: expected at least 6, as before, got 2"),
        ({"patience": 1}, "patience of the run to resume: expected 0, as before, got 1"),
    ],
)
def test_resuming_with_settings_that_would_have_ended_the_run_earlier_is_refused(simulated, tmp_path, earlier, message):
    fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run")
    before = (tmp_path / "run/run.json").read_bytes()
    with pytest.raises(InputError, match=message):
        fit(model_of(simulated), simulated, SETTINGS.model_copy(update=earlier), out=tmp_path / "run", resume=True)
    assert (tmp_path / "run/run.json").read_bytes() == before


def test_a_run_is_not_resumed_on_other_data(simulated, tmp_path):
    fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run")
    settings = preset("demo", num_users=60, num_items=90, num_interactions=1200, num_clusters=6)
    other = simulate(tmp_path / "other", settings=settings, seed=2)
    with pytest.raises(InputError, match="the data set differs from the data set of the run"):
        fit(model_of(simulated), other, SETTINGS, out=tmp_path / "run", resume=True)


def test_resuming_a_finished_run_returns_its_history(simulated, tmp_path):
    trained = model_of(simulated)
    expected = fit(trained, simulated, SETTINGS, out=tmp_path / "run")
    again = model_of(simulated)
    history = fit(again, simulated, SETTINGS, out=tmp_path / "run", resume=True)
    assert same(weights_of(trained), weights_of(again))
    assert (history.best, history.best_epoch, history.ending) == (expected.best, expected.best_epoch, expected.ending)


@pytest.mark.parametrize("first", [{"num_epochs": 3}, {"num_epochs": 6, "patience": 1}])
def test_a_finished_run_goes_on_with_more_epochs_and_more_patience_to_the_same_bits(simulated, tmp_path, first):
    whole = model_of(simulated)
    expected = fit(whole, simulated, SETTINGS, out=tmp_path / "whole")
    fit(model_of(simulated), simulated, SETTINGS.model_copy(update=first), out=tmp_path / "cut")
    model = model_of(simulated)
    history = fit(model, simulated, SETTINGS, out=tmp_path / "cut", resume=True)
    assert same(weights_of(model), weights_of(whole)) and len(history.epochs) == 6
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in expected.epochs]
    assert Run(tmp_path / "cut").record.recipe == Run(tmp_path / "whole").record.recipe
    (tmp_path / "cut/checkpoint.safetensors").unlink()
    with pytest.raises(InputError, match="no checkpoint to go on from"):
        more = SETTINGS.model_copy(update={"num_epochs": 9})
        fit(model_of(simulated), simulated, more, out=tmp_path / "cut", resume=True)


def test_a_broken_checkpoint_is_named(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHECKPOINT_SECONDS", 0.0)
    fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run", progress=InterruptAfter(2))
    (tmp_path / "run/checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: not a checkpoint of this model"):
        fit(model_of(simulated), simulated, SETTINGS, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0}, r"'lr': expected more than 0, got 0"),
        ({"batch_size": "many"}, r"'batch_size': expected a whole number, got 'many'"),
        ({"epochs": 3}, r"'epochs'.*did you mean num_epochs.*the settings are lr, batch_size, num_epochs"),
        ({"metric": "recall"}, r"'metric'.*'recall'"),
        ({"candidates": "some"}, "'candidates': expected all, cold, sampled-1000 or sampled-1000-per-user, got 'some'"),
        ({"candidates": "sampled-0"}, "'candidates': expected all, .*, got 'sampled-0'"),
    ],
)
def test_wrong_settings_are_refused_with_the_right_ones(given, message):
    with pytest.raises(InputError, match=message):
        check_settings(given)


def test_an_unknown_validation_metric_is_refused_before_training(simulated):
    with pytest.raises(InputError, match="recal"):
        fit(model_of(simulated), simulated, SETTINGS.model_copy(update={"metric": "recal@20"}))


def test_an_unknown_device_is_refused(simulated):
    with pytest.raises(InputError, match="gpu9"):
        fit(model_of(simulated), simulated, SETTINGS.model_copy(update={"device": "gpu9"}))


@pytest.mark.parametrize("name", ["lightgcn", "mmgcn", "dualgnn", "egogcn"])
def test_bf16_rounds_the_products_but_learns_the_same_thing(simulated, name):
    exact, rounded = model_of(simulated, name), model_of(simulated, name)
    one = fit(exact, simulated, SETTINGS)
    other = fit(rounded, simulated, SETTINGS.model_copy(update={"precision": "bf16"}))
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())
    assert other.epochs[-1].loss == pytest.approx(one.epochs[-1].loss, rel=0.02)
    if name == "mmgcn":
        assert other.epochs[-1].loss != one.epochs[-1].loss


def test_deterministic_mode_holds_while_training_and_ends_with_it(simulated):
    modes = []
    watcher = Progress()
    watcher.epoch = lambda epoch: modes.append(torch.are_deterministic_algorithms_enabled())
    fit(model_of(simulated), simulated, SETTINGS.model_copy(update={"deterministic": True}), progress=watcher)
    assert modes == [True] * 6
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_average_of_the_parameters_is_judged_and_kept(simulated):
    settings = SETTINGS.model_copy(update={"average": 0.9, "num_epochs": 1, "batch_size": 10**6})
    start, model, plain = model_of(simulated), model_of(simulated), model_of(simulated)
    fit(model, simulated, settings)
    fit(plain, simulated, settings.model_copy(update={"average": 0.0}))
    for name, value in weights_of(plain).items():  # one step: a tenth of it
        begun = weights_of(start)[name]
        assert torch.allclose(weights_of(model)[name], begun + 0.1 * (value - begun), atol=1e-6)


def test_a_resumed_run_continues_the_average(simulated, tmp_path):
    settings = SETTINGS.model_copy(update={"average": 0.9})
    whole, resumed = model_of(simulated), model_of(simulated)
    fit(whole, simulated, settings)
    fit(resumed, simulated, settings.model_copy(update={"num_epochs": 3}), out=tmp_path / "run")
    resumed = model_of(simulated)
    fit(resumed, simulated, settings, out=tmp_path / "run", resume=True)
    assert same(weights_of(whole), weights_of(resumed))
