"""The program ``weightspace``: one file per verb; each parses, calls the floor below and prints.

Nothing here is imported before its verb is called, so that ``weightspace --help`` does not wait for torch.
"""

__all__: list[str] = []
