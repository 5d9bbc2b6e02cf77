"""Examples as arrays: splits, rows on disk, scaling, validation, and the contract of a task."""
