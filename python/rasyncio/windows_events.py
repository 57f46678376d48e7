"""The event loops of Windows, where rasyncio does not run yet: as on other systems, nothing is to be had from here."""

raise ImportError("win32 only")
