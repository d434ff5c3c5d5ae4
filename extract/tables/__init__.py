"""Lists that people write: tables and annotation files."""
