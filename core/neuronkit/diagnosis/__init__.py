"""What can be said before anything is compiled: about this machine (`doctor`), and about a model (`check`)."""
