"""The packages that ``neuronkit new-plugin`` writes: their names, what differs by task, and the templates."""
