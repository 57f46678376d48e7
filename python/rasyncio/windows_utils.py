"""Pipes and child processes of Windows, where rasyncio does not run yet: nothing is to be had from here."""

raise ImportError("win32 only")
