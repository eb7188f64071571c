"""The words of the wire: what the three topics carry, importable without the rest of claimpath."""
