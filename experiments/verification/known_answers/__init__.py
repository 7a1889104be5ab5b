"""Small programs in the shapes of the zoo, checked against NumPy with derived bounds."""
