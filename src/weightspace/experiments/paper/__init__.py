"""The settings of the tables, one file per task, with the published numbers beside them."""

from collections.abc import Mapping

from weightspace.experiments.bench.table import Table
from weightspace.experiments.paper.edit import EDIT_CIFAR, EDIT_MNIST
from weightspace.experiments.paper.generalisation import (
    GENERALISATION_RELU,
    GENERALISATION_SYNDIGITS,
    GENERALISATION_TANH,
)
from weightspace.experiments.paper.group import ROTATED_DIGITS, SMOKE
from weightspace.experiments.paper.inr import INR_CIFAR, INR_FASHION, INR_MNIST, INR_MNIST_SHARED, INR_MNIST_VIEWS
from weightspace.experiments.paper.policy import POLICY_CARTPOLE

__all__ = ["TABLES"]

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        INR_MNIST,
        INR_FASHION,
        INR_CIFAR,
        INR_MNIST_SHARED,
        INR_MNIST_VIEWS,
        EDIT_MNIST,
        EDIT_CIFAR,
        GENERALISATION_RELU,
        GENERALISATION_TANH,
        GENERALISATION_SYNDIGITS,
        POLICY_CARTPOLE,
        ROTATED_DIGITS,
        SMOKE,
    )
}
"""All tables, by name."""
