"""Flows that every engine is asked for, each beside its tests, which crash it at every write."""
