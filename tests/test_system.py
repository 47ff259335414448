"""The machine's readings: which GPUs are counted, what is left out, and that no fault of theirs reaches training."""

import sys
import time
import types

import pytest

from finetune_wb import system
from finetune_wb.events import EventLog, read_events
from finetune_wb.system import SystemSampler, sample_system


class NVMLError(Exception):
    pass


def fail(*_):
    raise NVMLError


@pytest.fixture
def three_gpus(monkeypatch):
    """An NVML of three GPUs, 0 to 2, that can't read power; no torch has opened any."""
    nvml = types.SimpleNamespace(
        NVMLError=NVMLError, NVML_TEMPERATURE_GPU=0, nvmlDeviceGetCount=lambda: 3, nvmlDeviceGetPowerUsage=fail,
        nvmlDeviceGetHandleByIndex=lambda i: i if i < 3 else fail(),
        nvmlDeviceGetHandleByUUID=lambda name: {"GPU-b": 1, "GPU-c": 2}[name] if name in ("GPU-b", "GPU-c") else fail(),
        nvmlDeviceGetUtilizationRates=lambda gpu: types.SimpleNamespace(gpu=10 * gpu),
        nvmlDeviceGetMemoryInfo=lambda gpu: types.SimpleNamespace(used=gpu * 1e9, total=80e9),
        nvmlDeviceGetTemperature=lambda gpu, _: 40 + gpu,
    )  # fmt: skip
    monkeypatch.setattr(system, "_nvml", lambda: nvml)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return nvml


@pytest.mark.parametrize("named, load, memory, hottest", [
    (None, 10, 3000, 42), ("2", 20, 2000, 42), ("1, 2", 15, 3000, 42), ("GPU-b", 10, 1000, 41),
    ("2,GPU-gone,1", 20, 2000, 42), ("0,7,1", 0, 0, 40),
])  # fmt: skip
def test_only_the_gpus_this_process_sees(three_gpus, monkeypatch, named, load, memory, hottest):
    if named is not None: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    found = sample_system()
    assert (found["gpu_percent"], found["gpu_memory_mb"], found["gpu_temperature_c"]) == (load, memory, hottest)
    assert "gpu_power_w" not in found and found["rss_mb"] > 5


@pytest.mark.parametrize("named", ["", "-1", "GPU-gone", "9"])
def test_no_gpu_is_visible(three_gpus, monkeypatch, named):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert not [name for name in sample_system() if name.startswith("gpu")]


@pytest.mark.parametrize("cuda, opened, expected", [("12.8", True, 20), ("12.8", False, 10), (None, False, None)])
def test_torch_says_which_gpus(three_gpus, monkeypatch, cuda, opened, expected):
    devices = types.SimpleNamespace(is_initialized=lambda: opened, device_count=lambda: 1,
                                    get_device_properties=lambda i: types.SimpleNamespace(uuid="c"))  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(version=types.SimpleNamespace(cuda=cuda), cuda=devices))
    assert sample_system().get("gpu_percent") == expected


def test_a_driver_that_goes_away_leaves_the_rest(three_gpus):
    three_gpus.nvmlDeviceGetCount = fail
    assert {"cpu_percent", "rss_mb"} == sample_system().keys()
    three_gpus.nvmlDeviceGetCount, three_gpus.nvmlDeviceGetMemoryInfo = (lambda: 1), lambda gpu: 1 / 0
    assert "gpu_percent" in (found := sample_system()) and "gpu_memory_mb" not in found


def test_busy_and_idle_processor():
    end = time.perf_counter() + 0.3
    import psutil

    process = psutil.Process()
    sample_system(process)
    while time.perf_counter() < end: pass
    busy = sample_system(process)["cpu_percent"]
    time.sleep(0.3)
    idle = sample_system(process)["cpu_percent"]
    assert busy > 3 * idle and busy <= 110


def test_the_sampler_survives_what_it_watches(tmp_path, monkeypatch):
    log = EventLog(tmp_path / "run" / "events.jsonl")
    with SystemSampler(log, every=0.01) as sampler:
        time.sleep(0.05)  # the folder is not there yet: readings are lost, nothing is raised
        assert sampler._thread.is_alive()
        log.path.parent.mkdir()
        monkeypatch.setattr(system, "_gpu_readings", lambda: 1 / 0)
        time.sleep(0.05)
        assert read_events(log.path) == []
        monkeypatch.undo()
        sampler.beat(7)
        for _ in range(200):
            if read_events(log.path, "system"): break
            time.sleep(0.02)
    event = read_events(log.path, "system")[-1]
    assert event["step"] == 7 and event["limit"] == 600 and event["idle"] < 10


def test_the_sampler_costs_next_to_nothing():
    import psutil

    process = psutil.Process()
    sample_system(process)
    start = time.process_time()
    for _ in range(100): sample_system(process)
    assert (time.process_time() - start) / 100 < 0.002  # of a 2 s period: below 0.1 %
