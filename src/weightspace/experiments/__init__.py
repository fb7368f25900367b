"""Whole experiments: everything below, put together and measured (floor 8)."""

from weightspace.experiments.demo import DemoSettings, run_demo
from weightspace.experiments.record import DemoRecord, ModelResult, read_demo

__all__ = ["DemoRecord", "DemoSettings", "ModelResult", "read_demo", "run_demo"]
