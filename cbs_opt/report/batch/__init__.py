"""The report of a batch: from a store to tables, curves, files and a page."""
