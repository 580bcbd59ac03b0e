"""What the project uses and does not ship."""
