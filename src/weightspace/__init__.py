"""Learning on neural networks: read, compare, predict, classify and edit them straight from their weights.

Sub-packages, from the ground up: ``groups``, ``spec``, ``weights``, ``testing``, ``layers``, ``zoo``, ``models``,
``tasks``, ``training``, ``experiments``, ``reports``, ``cli``. Import what you need from these; this file stays
empty so that ``import weightspace`` is quick.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
