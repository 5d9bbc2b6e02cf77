"""What is measured, a suite a file."""
