"""Plugins whose input is text."""
