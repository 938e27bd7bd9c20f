"""Arrays as they come in: what they are called, and the checks that name what is wrong with one."""
