"""A search whose trials are trained by several worker processes."""
