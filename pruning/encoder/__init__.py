"""The encoder that all families have in common: its blocks' scales, integers and arithmetic."""
