"""What is claimed about whole networks, measured."""
