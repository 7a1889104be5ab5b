"""What TensorBoard shows of a training, with TensorFlow installed or not.

``callback.Telemetry`` is an ordinary Keras callback, for any functional model's ``fit``.
"""
