"""The contract of an activation plug-in, what measures it, and the integrals behind it."""
