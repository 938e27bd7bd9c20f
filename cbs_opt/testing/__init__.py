"""The laws that methods, patterns and curvatures obey, and awkward instances to try them on: for anyone's own."""
