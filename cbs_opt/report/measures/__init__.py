"""The statistics of a report, as pure functions of arrays, one idea in each file."""
