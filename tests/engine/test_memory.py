import torch

from medley.engine import memory


def test_the_memory_of_a_dead_tensor_is_used_again_and_that_of_a_living_one_is_not(monkeypatch):
    monkeypatch.setattr(memory, "_waiting", {})
    first = memory.empty(1024, 1024, dtype=torch.float32)
    other = memory.empty(1024, 1024, dtype=torch.float32)
    part, place = first[5:], first.data_ptr()
    assert place % memory.LINE == 0 and other.data_ptr() != place
    del first
    assert memory.empty(1024, 1024, dtype=torch.float32).data_ptr() != place  # `part` still reads it
    del part
    again = memory.empty(512, 1024, dtype=torch.float64)
    assert again.data_ptr() == place and again.shape == (512, 1024)


def test_no_more_waits_than_the_limit_allows(monkeypatch):
    monkeypatch.setattr(memory, "_waiting", {})
    monkeypatch.setattr(memory, "KEPT_AT_MOST", 10 * 2**20)
    tensors = [memory.empty(1024, 1024, dtype=torch.float32) for _ in range(4)]
    tensors.clear()
    assert sum(size * len(blocks) for size, blocks in memory._waiting.items()) == 8 * 2**20


def test_a_gradient_that_a_parameter_keeps_is_not_overwritten():
    parameter = torch.zeros(1024, 1024, requires_grad=True)
    parameter.grad = memory.empty(1024, 1024, dtype=torch.float32).fill_(3)
    memory.empty(1024, 1024, dtype=torch.float32).fill_(7)
    assert bool((parameter.grad == 3).all())
