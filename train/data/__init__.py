"""From tars and maps to batches: joining, choosing, planning, decoding, cutting."""
