"""Both stages as steps, and what their programs share: commands, the staleness of steps, the look of pages."""
