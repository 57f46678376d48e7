"""Pipes and child processes of Windows, where rasyncio does not run yet: an import is an ImportError."""
