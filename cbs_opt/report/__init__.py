"""Makes results readable: tables, charts and HTML pages of batches and networks."""
