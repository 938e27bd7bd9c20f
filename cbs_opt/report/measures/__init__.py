"""The statistics of a report: pure functions of arrays, one idea a file."""
