"""The search for hyperparameters: KerasTuner's oracles, made exact, over an experiment's arms."""
