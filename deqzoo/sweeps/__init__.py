"""Many runs: the grid, a cell's lanes, the sweep."""
