"""Training on a GPU: the same losses, scores and results as on a CPU, up to rounding. Skipped where there is no GPU."""

import numpy as np
import pytest
import torch

import medley
from medley import models
from medley.evaluation.evaluator import Evaluator
from medley.scoring.top_k import top_k
from medley.training.sampling import TripletSampler, batches
from medley.types import Embeddings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use")

TRAINED = [name for name in models.MODELS if name not in ("popularity", "itemknn", "ease")]


@pytest.mark.parametrize("name", TRAINED)
def test_loss_gradients_and_scores_on_a_gpu_equal_those_on_a_cpu(name, simulated):
    batch = next(batches(TripletSampler(simulated.train, torch.Generator().manual_seed(0)).epoch(), 128))
    found = {}
    for device in ("cpu", "cuda"):
        model = models.build(name, simulated.inputs(), seed=3).to(device)
        with torch.no_grad():
            model.start_epoch()
        loss = model.eval().loss(type(batch)(*(rows.to(device) for rows in batch)))
        loss.backward()
        with torch.no_grad():
            score = model.scorer()
            users = torch.arange(20)
            table = score.user[users.to(device)] @ score.item.T if isinstance(score, Embeddings) else score(users)
        gradients = {key: p.grad.cpu() for key, p in model.named_parameters() if p.grad is not None}
        found[device] = loss.item(), gradients, table.float().cpu()
    (loss, gradients, table), (loss_gpu, gradients_gpu, table_gpu) = found["cpu"], found["cuda"]
    assert loss_gpu == pytest.approx(loss, rel=1e-3)
    torch.testing.assert_close(table_gpu, table, rtol=1e-3, atol=1e-3)
    assert gradients.keys() == gradients_gpu.keys()
    for key, gradient in gradients.items():
        largest = gradient.abs().max().item()
        assert (gradients_gpu[key] - gradient).abs().max().item() <= 1e-2 * largest + 1e-6, key


@pytest.mark.parametrize("name", [*models.MODELS])
def test_a_run_on_a_gpu_is_trained_evaluated_opened_again_and_recommends(name, simulated, tmp_path):
    settings = {"num_epochs": 2, "batch_size": 512, "device": "cuda", "progress": False}
    run = medley.train(name, simulated, out=tmp_path / "run", **settings)
    first = medley.evaluate(run, split="test").metrics
    opened = medley.Run(tmp_path / "run")  # the model of an opened run is on the CPU
    assert medley.evaluate(opened, split="test").metrics == pytest.approx(first, abs=0.02)
    assert len(medley.recommend(run, user=simulated.users.raw_id(0), k=5)) == 5
    if name in TRAINED:
        assert np.isfinite([epoch.loss for epoch in run.history.epochs]).all()


@pytest.mark.parametrize("name", ["lightgcn", "mmgcn", "freedom"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_on_a_gpu_learns_as_on_a_cpu(name, precision, simulated):
    shared = {"num_epochs": 15, "batch_size": 256, "lr": 0.01, "patience": 0, "progress": False}
    best = {
        device: medley.train(name, simulated, device=device, precision=precision, **shared).record.best
        for device in ("cpu", "cuda")
    }
    assert best["cuda"] == pytest.approx(best["cpu"], abs=0.1)  # other random numbers; 60 users


def test_a_training_on_a_gpu_goes_on_where_it_was_stopped(simulated, tmp_path):
    settings = {"batch_size": 256, "device": "cuda", "patience": 0, "progress": False}
    whole = medley.train("lightgcn", simulated, num_epochs=6, **settings)
    medley.train("lightgcn", simulated, out=tmp_path / "run", num_epochs=3, **settings)
    run = medley.train("lightgcn", simulated, out=tmp_path / "run", num_epochs=6, resume=True, **settings)
    losses, resumed = ([epoch.loss for epoch in each.history.epochs] for each in (whole, run))
    assert resumed == pytest.approx(losses, rel=1e-4)


def test_lists_and_metrics_of_a_model_on_a_gpu_equal_those_on_a_cpu(simulated):
    model = models.build("lightgcn", simulated.inputs(), seed=1).to("cuda").eval()
    with torch.no_grad():
        score = model.scorer()
    on_cpu = Embeddings(score.user.cpu(), score.item.cpu())
    users, seen = np.arange(simulated.manifest.num_users), simulated.train.csr()
    (items, values), (items_cpu, values_cpu) = (top_k(each, users, seen, 10) for each in (score, on_cpu))
    np.testing.assert_allclose(values, values_cpu, atol=1e-5)
    assert (items == items_cpu).mean() > 0.99  # scores that are equal up to rounding may change places
    evaluator = Evaluator(simulated, split="test", at=(10,))
    assert evaluator(score).metrics == pytest.approx(evaluator(on_cpu).metrics, abs=1e-2)
