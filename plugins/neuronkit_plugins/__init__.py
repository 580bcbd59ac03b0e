"""The built-in model plugins: one module per task, one plugin object for all architectures that fit it."""
