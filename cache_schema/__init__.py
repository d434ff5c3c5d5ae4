"""What is stored and how it is addressed: the contract between extraction and training. Never loads torch."""

from cache_schema.addresses import ObjectPath, Place, is_address, local, place
from cache_schema.attributes import FORMAT_VERSION
from cache_schema.avif import is_avif, media_brands
from cache_schema.cache import Cache, check_dataset, create_cache, formats_identity, open_cache
from cache_schema.canvases import (
    CanvasStore,
    CanvasWriter,
    canvas_fingerprint,
    check_canvases,
    encode_canvas,
    new_canvases,
    open_canvases,
)
from cache_schema.checks import check_choice, check_least
from cache_schema.contents import contents_table, count_images
from cache_schema.copies import Original
from cache_schema.dataset_file import TarEntry
from cache_schema.derive import Derived, derive_cache
from cache_schema.errors import (
    CacheError,
    DatasetError,
    FingerprintMismatch,
    FormatVersionError,
    ShardCorrupt,
    ShardMissing,
    ShardStale,
    StorageError,
    WorkerLost,
)
from cache_schema.files import (
    file_name,
    new_file,
    new_folder,
    new_opened,
    read_json,
    remove,
    write_bytes,
    write_json,
    write_text,
)
from cache_schema.fingerprint import AVIF_RULE, Fingerprint, without_formats
from cache_schema.groups import GROUP_COLUMNS, DividedGroups, check_whole_groups, find_divided
from cache_schema.growing import Ahead
from cache_schema.images import MAX_PIXELS, RULES, DecodedFile, ImageRejected, decode_file, decode_image, resize_canvas
from cache_schema.index import DATASET_VERSION, INDEX_SCHEMA, Dataset
from cache_schema.index_view import IndexView, find_rows
from cache_schema.joining import check_join
from cache_schema.jpeg_scans import has_more_scans, most_scans
from cache_schema.keys import SPLITS, sample_key, source_path, store_name, tar_name
from cache_schema.listing import file_size, list_entries, list_files, list_names, map_files
from cache_schema.locks import claim, lock_folder
from cache_schema.near_duplicates import MAX_DISTANCE, NO_HASH, NearDuplicates, find_near_duplicates, perceptual_hash
from cache_schema.opening import open_image
from cache_schema.parquet import parse_footer, read_columns
from cache_schema.places import base_names, is_path
from cache_schema.plain_files import NotPlain, load_json, open_folder, open_in_place, open_plain, own_folder, read_plain
from cache_schema.png_chunks import walk_chunks
from cache_schema.reaching import why_download_failed, why_unreachable
from cache_schema.reasons import commonest_reasons
from cache_schema.rejected import REJECTED_SCHEMA, read_rejected, write_rejected
from cache_schema.report import (
    ShardReport,
    check_rows,
    format_shards,
    format_status,
    reason_kind,
    shard_reports,
    summarize,
)
from cache_schema.room import state_folder
from cache_schema.shown import as_markdown, guard_cell, shown, shown_lines, unguard_cell
from cache_schema.stacking import stack_maps, stacked_shape
from cache_schema.status import Status, is_ok
from cache_schema.store import (
    FULL_MANTISSA_BITS,
    ShardData,
    fits_stored,
    non_finite_reason,
    round_mantissa,
)
from cache_schema.tars import EXTENSIONS, Sample, SampleFields, read_image_bytes, rows_sha256
from cache_schema.text_hashes import check_distinct_keys
from cache_schema.turns import LARGE_BYTES, decoding_turn, share_turns
from cache_schema.updating import UPDATABLE, update_index
from cache_schema.verify import index_problems
from cache_schema.workers import (
    allow_lost_reader,
    end_with_parent,
    fork_server,
    hold_signals,
    run_tasks,
    start_fork_server,
)
from cache_schema.writing import append_dataset, check_new, write_dataset

__all__ = [
    "AVIF_RULE",
    "DATASET_VERSION",
    "EXTENSIONS",
    "FORMAT_VERSION",
    "FULL_MANTISSA_BITS",
    "GROUP_COLUMNS",
    "INDEX_SCHEMA",
    "LARGE_BYTES",
    "MAX_DISTANCE",
    "MAX_PIXELS",
    "NO_HASH",
    "REJECTED_SCHEMA",
    "RULES",
    "SPLITS",
    "UPDATABLE",
    "Ahead",
    "Cache",
    "CacheError",
    "CanvasStore",
    "CanvasWriter",
    "Dataset",
    "DatasetError",
    "DecodedFile",
    "Derived",
    "DividedGroups",
    "Fingerprint",
    "FingerprintMismatch",
    "FormatVersionError",
    "ImageRejected",
    "IndexView",
    "NearDuplicates",
    "NotPlain",
    "ObjectPath",
    "Original",
    "Place",
    "Sample",
    "SampleFields",
    "ShardCorrupt",
    "ShardData",
    "ShardMissing",
    "ShardReport",
    "ShardStale",
    "Status",
    "StorageError",
    "TarEntry",
    "WorkerLost",
    "allow_lost_reader",
    "append_dataset",
    "as_markdown",
    "base_names",
    "canvas_fingerprint",
    "check_canvases",
    "check_choice",
    "check_dataset",
    "check_distinct_keys",
    "check_join",
    "check_least",
    "check_new",
    "check_rows",
    "check_whole_groups",
    "claim",
    "commonest_reasons",
    "contents_table",
    "count_images",
    "create_cache",
    "decode_file",
    "decode_image",
    "decoding_turn",
    "derive_cache",
    "encode_canvas",
    "end_with_parent",
    "file_name",
    "file_size",
    "find_divided",
    "find_near_duplicates",
    "find_rows",
    "fits_stored",
    "fork_server",
    "format_shards",
    "format_status",
    "formats_identity",
    "guard_cell",
    "has_more_scans",
    "hold_signals",
    "index_problems",
    "is_address",
    "is_avif",
    "is_ok",
    "is_path",
    "list_entries",
    "list_files",
    "list_names",
    "load_json",
    "local",
    "lock_folder",
    "map_files",
    "media_brands",
    "most_scans",
    "new_canvases",
    "new_file",
    "new_folder",
    "new_opened",
    "non_finite_reason",
    "open_cache",
    "open_canvases",
    "open_folder",
    "open_image",
    "open_in_place",
    "open_plain",
    "own_folder",
    "parse_footer",
    "perceptual_hash",
    "place",
    "read_columns",
    "read_image_bytes",
    "read_json",
    "read_plain",
    "read_rejected",
    "reason_kind",
    "remove",
    "resize_canvas",
    "round_mantissa",
    "rows_sha256",
    "run_tasks",
    "sample_key",
    "shard_reports",
    "share_turns",
    "shown",
    "shown_lines",
    "source_path",
    "stack_maps",
    "stacked_shape",
    "start_fork_server",
    "state_folder",
    "store_name",
    "summarize",
    "tar_name",
    "unguard_cell",
    "update_index",
    "walk_chunks",
    "why_download_failed",
    "why_unreachable",
    "without_formats",
    "write_bytes",
    "write_dataset",
    "write_json",
    "write_rejected",
    "write_text",
]
