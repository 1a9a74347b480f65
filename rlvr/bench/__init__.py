"""What `rlvr bench` measures."""
