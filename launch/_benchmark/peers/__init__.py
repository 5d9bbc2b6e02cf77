"""Who is measured, a package a file; the file has the name of the package."""
