"""Trained models with their cards: listed, loaded, saved, built and checked by name."""
