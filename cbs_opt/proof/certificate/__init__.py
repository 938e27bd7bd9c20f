"""The certificate itself: what it holds, the digest of the block that it is about, and its file."""
