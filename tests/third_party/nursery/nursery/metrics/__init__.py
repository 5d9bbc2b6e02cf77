"""Members for deqzoo by another hand."""
