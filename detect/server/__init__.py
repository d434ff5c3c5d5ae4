"""Verdicts over HTTP: a web page and an API on one detector. Needs the packages of the extra `serve`."""
