"""Trackers: what they wrote is read back with the readers of TensorBoard and MLflow."""

import builtins
import math

import pytest

import medley
from medley import api
from medley.errors import InputError, MedleyWarning, MissingExtraError, TrainingError
from medley.runs import Run
from medley.runs.history import Epoch
from medley.training.progress import Progress
from medley.training.track import ARTIFACTS, DATABASE, TENSORBOARD, Several

OPTIONS = {"dim": 4, "num_epochs": 3, "patience": 0, "lr": 1e-2}


@pytest.fixture(autouse=True)
def _no_other_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def scalars(folder) -> dict[str, dict[int, float]]:
    """Name -> step -> value, as TensorBoard reads the files."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard")
    events = accumulator.EventAccumulator(str(folder / TENSORBOARD)).Reload()
    return {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}


def texts(folder) -> str:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard")
    events = accumulator.EventAccumulator(str(folder / TENSORBOARD)).Reload()
    return events.Tensors("recipe/text_summary")[-1].tensor_proto.string_val[0].decode()


def stored(folder):
    """The runs of the experiments in the database beside a run folder, and the client that reads them."""
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder.parent / DATABASE}")
    experiments = {one.name: one.experiment_id for one in client.search_experiments()}
    return client, experiments, client.search_runs(list(experiments.values()))


def test_tensorboard_reads_the_history_of_the_run(simulated, tmp_path):
    pytest.importorskip("tensorboard")
    run = api.train("mf", simulated, out=tmp_path / "run", progress=False, track="tensorboard", **OPTIONS)
    read, epochs = scalars(tmp_path / "run"), run.history.epochs
    assert len(epochs) == 3
    assert read["loss"] == pytest.approx({e.epoch: e.loss for e in epochs})
    assert read["valid/recall@20"] == pytest.approx({e.epoch: e.metric for e in epochs})
    assert read["best/recall@20"] == pytest.approx({e.epoch: e.best for e in epochs})
    assert read["seconds/epoch"] == pytest.approx({e.epoch: e.seconds for e in epochs})
    text = texts(tmp_path / "run")
    assert "lr: 0.01" in text and "status: finished" in text and simulated.manifest.content_hash in text


def test_mlflow_reads_the_history_of_the_run(simulated, tmp_path):
    pytest.importorskip("mlflow")
    run = api.train("mf", simulated, out=tmp_path / "one", progress=False, track=["mlflow"], **OPTIONS)
    client, experiments, (found,) = stored(tmp_path / "one")
    assert found.info.experiment_id == experiments[simulated.manifest.name]
    assert (found.info.status, found.info.run_name) == ("FINISHED", "one")
    assert found.data.params["lr"] == "0.01" and found.data.params["model"] == "mf"
    assert found.data.params["recipe"] == run.record.recipe.fingerprint
    history = {m.step: m.value for m in client.get_metric_history(found.info.run_id, "valid/recall at 20")}
    assert history == {e.epoch: e.metric for e in run.history.epochs}
    assert found.data.tags["best"].startswith(f"recall@20 {run.history.best:.6f}")
    assert not (tmp_path / ARTIFACTS).exists() and not (tmp_path / "mlruns").exists()


def test_runs_beside_each_other_share_one_database(simulated, tmp_path):
    pytest.importorskip("mlflow")
    for name in ("one", "two"):
        api.train("mf", simulated, out=tmp_path / name, progress=False, track="mlflow", **{**OPTIONS, "num_epochs": 1})
    _, _, found = stored(tmp_path / "one")
    assert {one.info.run_name for one in found} == {"one", "two"}


class Stop(Progress):
    """Ctrl-C after an epoch."""

    def __init__(self, epoch: int):
        self.at = epoch

    def epoch(self, epoch: Epoch) -> None:
        """Interrupts."""
        if epoch.epoch == self.at:
            raise KeyboardInterrupt


def test_a_resumed_training_goes_on_in_the_same_place_without_a_step_twice(simulated, tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    out, both = tmp_path / "run", ["tensorboard", "mlflow"]
    api.train("mf", simulated, out=out, progress=Stop(2), track=both, **OPTIONS)
    _, _, (found,) = stored(out)
    assert found.info.status == "KILLED" and "status: interrupted" in texts(out)
    run = api.train("mf", simulated, out=out, resume=True, progress=False, track=both, **OPTIONS)
    expected = {e.epoch: e.loss for e in run.history.epochs}
    assert list(expected) == [1, 2, 3]
    client, _, (found,) = stored(out)
    assert found.info.status == "FINISHED"
    steps = [m.step for m in client.get_metric_history(found.info.run_id, "loss")]
    assert steps == [1, 2, 3]
    assert scalars(out)["loss"] == pytest.approx(expected)


def test_tracking_changes_no_bit_of_a_run(simulated, tmp_path):
    pytest.importorskip("tensorboard")
    plain = api.train("mf", simulated, out=tmp_path / "plain", progress=False, **OPTIONS)
    tracked = api.train("mf", simulated, out=tmp_path / "tracked", progress=False, track="tensorboard", **OPTIONS)
    one, two = (run.folder / "weights.safetensors" for run in (plain, tracked))
    assert one.read_bytes() == two.read_bytes()
    assert [e.loss for e in plain.history.epochs] == [e.loss for e in tracked.history.epochs]


def test_a_failed_training_is_recorded_as_failed(simulated, tmp_path):
    pytest.importorskip("mlflow")
    with pytest.raises(TrainingError):
        api.train("mf", simulated, out=tmp_path / "run", progress=False, track="mlflow", **{**OPTIONS, "lr": 1e30})
    _, _, (found,) = stored(tmp_path / "run")
    assert found.info.status == "FAILED"


def test_a_refused_training_leaves_no_trace(simulated, tmp_path):
    pytest.importorskip("mlflow")
    out = tmp_path / "run"
    api.train("mf", simulated, out=out, progress=False, **{**OPTIONS, "num_epochs": 1})
    with pytest.raises(InputError, match="holds a run already"):
        api.train("mf", simulated, out=out, progress=False, track=["mlflow", "tensorboard"], **OPTIONS)
    assert not (tmp_path / DATABASE).exists() and not (out / TENSORBOARD).exists()


def test_a_model_without_parameters_has_its_validation_metric(simulated, tmp_path):
    pytest.importorskip("tensorboard")
    run = api.train("popularity", simulated, out=tmp_path / "run", progress=False, track="tensorboard")
    assert math.isclose(scalars(tmp_path / "run")["best/recall@20"][0], run.history.best, rel_tol=1e-6)


def test_an_unknown_tracker_and_a_run_without_folder_are_refused(simulated, tmp_path):
    with pytest.raises(InputError, match="expected tensorboard or mlflow, got 'wandb'"):
        api.train("mf", simulated, out=tmp_path / "run", track="wandb")
    with pytest.raises(InputError, match=r"expected a run folder, got none. Remedy: pass out="):
        medley.train("mf", simulated, track="tensorboard")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "package"),
    [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow"), ("mlflow", "alembic")],
)
def test_a_missing_package_says_which_extra_brings_it(simulated, tmp_path, monkeypatch, name, package):
    real = builtins.__import__

    def without(module, *rest):
        names = {module, *(f"{module}.{each}" for each in (rest[2] or ()))} if len(rest) > 2 else {module}
        if package in names:
            raise ImportError(module)
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"The tracker {name} needs .*pip install 'medley-rec\[track\]'"):
        api.train("mf", simulated, out=tmp_path / "run", progress=False, track=name)
    assert not (tmp_path / "run").exists()


def test_a_remote_store_is_not_used_and_said_so(simulated, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/none")
    with pytest.warns(MedleyWarning, match="writes local files alone"):
        api.train("mf", simulated, out=tmp_path / "run", progress=False, track="mlflow", **{**OPTIONS, "num_epochs": 1})
    assert Run(tmp_path / "run").record.status == "finished"
    assert len(stored(tmp_path / "run")[2]) == 1


def test_every_member_of_several_is_stopped_even_if_one_fails():
    stopped = []

    class Failing(Progress):
        def stop(self) -> None:
            stopped.append("failing")
            raise RuntimeError("cannot stop")

    class Good(Progress):
        def stop(self) -> None:
            stopped.append("good")

    with pytest.raises(RuntimeError, match="cannot stop"):
        Several([Failing(), Good()]).stop()
    assert stopped == ["failing", "good"]
