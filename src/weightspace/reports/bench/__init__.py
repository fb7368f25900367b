"""Pages of results: one for each table and one for all, made from records alone."""

from weightspace.reports.bench.index import write_pages

__all__ = ["write_pages"]
