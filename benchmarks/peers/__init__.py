"""The sides of a benchmark: each a process of its own, in the environment of its library."""
