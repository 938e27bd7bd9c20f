"""The certificate itself: what it records, the digest of its block, its file."""
