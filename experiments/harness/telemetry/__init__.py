"""What TensorBoard shows of a training, with TensorFlow installed or not."""

from experiments.harness.telemetry.callback import Telemetry

__all__ = ["Telemetry"]
