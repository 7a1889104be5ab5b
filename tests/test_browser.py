"""TensorBoard as a user sees it: a real server on the loopback, in headless Chromium."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import experiments

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TINY = {"network.width": 1 / 16, "batch_size": 8, "steps": 3, "intervals": 10, "test_examples": 20}
DASHBOARDS = (
    *("timeseries", "scalars", "custom_scalars", "images", "graphs", "distributions"),
    *("histograms", "text", "hparams"),
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Return the address of a TensorBoard with a tiny run of each arm of an experiment."""
    logdir = tmp_path_factory.mktemp("logs")
    options = {"scale": "mini", "seeds": [0], "data": ["digits"], "overrides": TINY}
    experiments.run("alexnet_lr_decay", logdir=logdir, **options)
    with serve(logdir, 4) as url:  # three arms and the experiment
        yield url


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[str]:
    """Return the address of a TensorBoard that has nothing to show."""
    with serve(tmp_path_factory.mktemp("empty"), 0) as url:
        yield url


@contextmanager
def serve(logdir: Path, expected_runs: int) -> Iterator[str]:
    """Yield the address of a TensorBoard once it has found so many runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ["--logdir", str(logdir), "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *argv])
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while count_runs(address) < expected_runs:
            assert time.monotonic() < deadline, "TensorBoard does not find the runs"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def count_runs(address: str) -> int:
    """Return how many runs TensorBoard has found, -1 if it does not answer yet."""
    try:
        return len(json.loads(fetch(f"{address}/data/runs")))
    except OSError:
        return -1


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


def test_every_dashboard_has_data(address):
    listed = json.loads(fetch(f"{address}/data/plugins_listing"))
    assert [name for name in DASHBOARDS if not listed[name]["enabled"]] == []


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_every_dashboard_differs_from_an_empty_one(address, empty, dashboard, tmp_path):
    bodies = []
    for name, server in (("runs", address), ("empty", empty)):
        picture = tmp_path / f"{name}.png"
        take_screenshot(f"{server}/#{dashboard}", picture)
        bodies.append(imread(picture)[200:, 450:, :3])  # below the bar, beside the list of runs
    share = np.mean(np.any(bodies[0] != bodies[1], axis=-1))
    assert share > 0.02, f"{dashboard} differs in {share:.1%} of its pixels from an empty one"


def take_screenshot(url: str, picture: Path) -> None:
    """Save a page's picture in Chromium."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = ["--window-size=1600,1000", "--virtual-time-budget=25000"]
    subprocess.run([str(CHROMIUM), *flags, *size, f"--screenshot={picture}", url],
                   check=True, capture_output=True, timeout=120)  # fmt: skip
