"""Making certificates from the record of a search: which nodes and points are needed, and which bound they prove."""
