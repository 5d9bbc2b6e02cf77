"""Observers that every run has: clock, health, journal, profile."""
