"""Hyperparameter search over an experiment's arms, with replayable KerasTuner oracles."""
