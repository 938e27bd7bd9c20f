"""What a CUDA device gains: the tests that need one, and selection and bounds beside the processor."""
