"""The drawings of the documentation, each in two widths: for a page and for a telephone."""
