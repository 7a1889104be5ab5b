"""Why does a training script not repeat: its own processes recorded, compared, and explained."""
