"""A Keras model: built from an arm, and measured."""
