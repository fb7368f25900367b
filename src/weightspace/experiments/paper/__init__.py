"""The settings of the tables, one file per task, with the published numbers beside them."""
