"""`python -m cache_schema status|verify --data FOLDER --cache FOLDER`: what is done, missing, stale, damaged."""

import argparse
import sys
from collections import Counter

from cache_schema.cache import check_dataset, open_cache, shard_reports
from cache_schema.errors import CacheError
from cache_schema.index import Dataset


def main(arguments: list[str] | None = None) -> int:
    """Print a line a tar that is not done, and a summary. Exit code 0 if all are done, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m cache_schema", description=__doc__)
    parser.add_argument("verb", choices=["status", "verify"], help="verify also reads every array and joins every row")
    parser.add_argument("--data", required=True, help="folder with dataset.json")
    parser.add_argument("--cache", required=True, help="folder with cache.json")
    options = parser.parse_args(arguments)
    write = sys.stdout.write
    try:
        dataset, cache = Dataset.open(options.data), open_cache(options.cache)
        check_dataset(cache, dataset.dataset_id)
        tars: Counter[str] = Counter()
        rejected = rows = 0
        for report in shard_reports(cache, dataset, verify=options.verb == "verify"):
            tars[report.state] += 1
            rejected += report.num_rejected
            rows += report.num_rows if report.state == "done" else 0
            if report.state != "done":
                write(f"{report.tar}  {report.state}  {report.detail}\n")
            elif report.num_rejected:
                write(f"{report.tar}  {report.num_rejected} of {report.num_rows} images rejected\n")
    except CacheError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    write(f"{cache.folder}: {', '.join(f'{tars[s]} {s}' for s in ('done', 'missing', 'stale', 'damaged'))} tars; ")
    write(f"{rows} rows, {rejected} of them rejected\n")
    return 0 if tars["done"] == len(dataset.tars) else 1


if __name__ == "__main__":
    raise SystemExit(main())
