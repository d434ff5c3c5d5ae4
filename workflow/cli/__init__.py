"""What the `lare` command is made of: its verbs, their settings read from source, one dialect of flags, and help."""
