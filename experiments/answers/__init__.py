"""The one form of an answer, and how it is shown: tables, charts, pictures, Markdown."""
