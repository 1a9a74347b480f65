"""What a run left behind, made readable: one HTML page a run, a paired comparison of several."""
