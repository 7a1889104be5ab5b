"""The methods that are compared, each with a function ``train(task, rounds)``."""
