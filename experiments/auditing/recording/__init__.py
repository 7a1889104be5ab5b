"""The part of an audit within the script's own process. Imports only the standard library."""
