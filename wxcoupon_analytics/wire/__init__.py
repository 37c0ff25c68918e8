"""What crosses the wire: HTTP, keys, signatures, limits. Knows no pandas."""
