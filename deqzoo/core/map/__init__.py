"""What is done to a map before it is iterated."""
