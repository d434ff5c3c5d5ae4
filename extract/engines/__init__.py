"""Where the tasks of a launch run: SLURM, or the devices of this machine."""
