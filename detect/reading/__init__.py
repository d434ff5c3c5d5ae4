"""What a file holds: its pixels in every format that people have, and the marks that it carries."""
