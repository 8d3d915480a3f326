"""What people look at and touch: figures, attention views, and the mixing desk."""
