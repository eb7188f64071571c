"""Everything that becomes events: X12 files and HTTP."""
