"""The event loops of Windows, where rasyncio does not run yet: an import is an ImportError."""
