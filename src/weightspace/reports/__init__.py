"""Figures and self-contained pages made from plain numbers and arrays; nothing here knows a network or a tensor."""

from weightspace.reports.content import (
    Curve,
    DemoReport,
    DigitGallery,
    ModelRow,
    Orbit,
    Pattern,
    confusion_matrix,
)
from weightspace.reports.figure import draw_accuracy, draw_confusion, draw_lines, draw_pattern
from weightspace.reports.image import picture_uri, signed_uri
from weightspace.reports.page import render_report, write_report
from weightspace.reports.similarity import draw_similarity
from weightspace.reports.table import summary, table
from weightspace.reports.theme import Style, styles

__all__ = [
    "Curve",
    "DemoReport",
    "DigitGallery",
    "ModelRow",
    "Orbit",
    "Pattern",
    "Style",
    "confusion_matrix",
    "draw_accuracy",
    "draw_confusion",
    "draw_lines",
    "draw_pattern",
    "draw_similarity",
    "picture_uri",
    "render_report",
    "signed_uri",
    "styles",
    "summary",
    "table",
    "write_report",
]
