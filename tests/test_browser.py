"""TensorBoard as people see it: a real server on the loopback, looked at in headless Chromium."""

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
    """Return where TensorBoard shows a tiny run of each arm of an experiment."""
    logdir = tmp_path_factory.mktemp("logs")
    options = {"scale": "mini", "seeds": [0], "data": ["digits"], "changes": TINY}
    experiments.run("alexnet_lr_decay", logdir=logdir, **options)
    with served(logdir, 4) as found:  # three arms and the experiment
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[str]:
    """Return where TensorBoard has nothing to show."""
    with served(tmp_path_factory.mktemp("empty"), 0) as found:
        yield found


@contextmanager
def served(logdir: Path, awaited: int) -> Iterator[str]:
    """Yield the address of a TensorBoard that has found as many runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--logdir", str(logdir), "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *words])
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while runs(address) < awaited:
            assert time.monotonic() < deadline, "TensorBoard does not find the runs"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def runs(address: str) -> int:
    """Return how many runs TensorBoard has found, -1 where it does not answer yet."""
    try:
        return len(json.loads(fetched(f"{address}/data/runs")))
    except OSError:
        return -1


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def test_every_dashboard_has_data(address):
    listed = json.loads(fetched(f"{address}/data/plugins_listing"))
    assert [name for name in DASHBOARDS if not listed[name]["enabled"]] == []


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_every_dashboard_shows_more_than_it_does_of_nothing(address, empty, dashboard, tmp_path):
    bodies = []
    for name, where in (("runs", address), ("nothing", empty)):
        picture = tmp_path / f"{name}.png"
        shown(f"{where}/#{dashboard}", picture)
        bodies.append(imread(picture)[200:, 450:, :3])  # below the bar, beside the list of runs
    share = np.mean(np.any(bodies[0] != bodies[1], axis=-1))
    assert share > 0.02, f"{dashboard} differs in {share:.1%} of its pixels from an empty one"


def shown(url: str, picture: Path) -> None:
    """Save what Chromium shows of a page."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = ["--window-size=1600,1000", "--virtual-time-budget=25000"]
    subprocess.run([str(CHROMIUM), *flags, *size, f"--screenshot={picture}", url],
                   check=True, capture_output=True, timeout=120)  # fmt: skip
