"""The validation gate: an artifact exists only if its graphs give what the eager model gives."""
