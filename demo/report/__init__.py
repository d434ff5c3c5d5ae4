"""The demo's page: pictures, charts, and what the numbers say."""
