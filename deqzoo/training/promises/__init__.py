"""What holds a run to a theorem."""
