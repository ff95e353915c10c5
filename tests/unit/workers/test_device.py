import pytest
import torch

from stoker_workers.models.device import find_device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without any accelerator, until a test gives it one."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


def test_auto_takes_the_cpu_where_there_is_nothing_else(machine: pytest.MonkeyPatch) -> None:
    device = find_device("auto")
    assert (device.name, device.kind, device.dtype) == ("cpu", "cpu", "float32")
    assert device.batch_tokens == 1024


def test_auto_takes_the_first_gpu(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "device_count", lambda: 2)
    device = find_device("auto")
    assert (device.name, device.kind, device.dtype) == ("cuda:0", "cuda", "auto")
    assert device.batch_tokens == 16384
    assert find_device("cuda:1").name == "cuda:1"
    assert find_device("cuda").name == "cuda:0"
    assert find_device("cpu").name == "cpu"


def test_auto_takes_mps(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("auto").kind == "mps"
    assert find_device("auto").batch_tokens == 4096


@pytest.mark.parametrize("wanted", ["cuda:2", "mps", "tpu", ""])
def test_a_missing_device_is_named_with_those_there_are(
    machine: pytest.MonkeyPatch, wanted: str
) -> None:
    machine.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="auto, cpu, cuda:0, cuda:1") as raised:
        find_device(wanted)
    assert repr(wanted) in str(raised.value)


def test_memory_is_that_of_the_machine() -> None:
    free, total = find_device("cpu").memory()
    assert 0 < free <= total
    find_device("cpu").release_memory()
