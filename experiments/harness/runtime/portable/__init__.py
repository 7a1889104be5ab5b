"""The portable profile: how JAX computes in it."""
