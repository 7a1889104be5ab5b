"""TensorBoard logging of training, with or without TensorFlow installed.

``callback.Telemetry`` is an ordinary Keras callback for any functional model's ``fit``.
"""
