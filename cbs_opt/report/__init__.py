"""Results for people: plots and a page."""
