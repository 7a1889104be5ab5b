"""TensorBoard as people see it: a real server on the loopback, looked at in headless Chromium."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import experiments

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TINY = {"network.width": 1 / 32, "batch_size": 8, "steps": 3, "intervals": 10, "test_examples": 20}
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--logdir", str(logdir), "--port", str(port), "--host", "127.0.0.1"]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *words])
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    try:
        while runs(address) < 4:  # three arms and the experiment
            assert time.monotonic() < deadline, "TensorBoard does not find the runs"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def runs(address: str) -> int:
    try:
        return len(json.loads(fetched(f"{address}/data/runs")))
    except OSError:
        return 0


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def test_every_dashboard_has_data(address):
    listed = json.loads(fetched(f"{address}/data/plugins_listing"))
    assert [name for name in DASHBOARDS if not listed[name]["enabled"]] == []


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_every_dashboard_shows_something(address, dashboard, tmp_path):
    picture = tmp_path / "dashboard.png"
    shown(f"{address}/#{dashboard}", picture)
    body = imread(picture)[200:, 450:, :3]  # below the bar, beside the list of runs
    colours = np.unique((body * 255).astype(int).reshape(-1, 3), axis=0)
    assert len(colours) > 30, f"{dashboard} shows {len(colours)} colours"


def shown(url: str, picture: Path) -> None:
    """Save what Chromium shows of a page."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = ["--window-size=1600,1000", "--virtual-time-budget=25000"]
    subprocess.run([str(CHROMIUM), *flags, *size, f"--screenshot={picture}", url],
                   check=True, capture_output=True, timeout=120)  # fmt: skip
