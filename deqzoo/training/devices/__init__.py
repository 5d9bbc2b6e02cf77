"""Devices and processes: meshes, layouts, preemption."""
