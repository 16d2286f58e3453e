"""Lists as people have them, in any format, as rows with file and line."""
