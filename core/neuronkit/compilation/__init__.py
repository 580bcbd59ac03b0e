"""The compile journey, and what only it needs: from a model to a validated artifact."""
