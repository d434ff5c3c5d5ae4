"""Stage 2: a detector trained from image tars and a LaRE cache. No UNet, no diffusers, nothing of stage 1."""
