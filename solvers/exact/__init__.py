"""Methods that prove their answer."""
