"""The artifact on disk: its manifest, how it is written and read, the cache of compiled graphs, and the validation gate."""
