"""Editing: change the weights of networks that hold images, so that the images they hold are changed."""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import DataError, FormatError, ShapeError, unknown
from weightspace.tasks.change import CHANGES, changed
from weightspace.weights import WeightFeatures
from weightspace.zoo import Images, Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.canvas import Canvas

__all__ = ["EditImages"]


@dataclass(frozen=True)
class EditImages:
    r"""Edits networks so that the images which they hold become the changed ones; made by `EditImages.of`.

    A model with the readout `Edit` answers with networks. For the image :math:`f(p)` that one of them draws on the
    pixels :math:`p`, with colours between 0 and 1, and the changed original :math:`t(p)`, the loss is the mean of

    .. math:: \frac{1}{P C} \sum_{p, c} (f_c(p) - t_c(p))^2

    over networks; the score is minus that. Images are not clamped: outside of what can be seen, an image still has a
    gradient that leads back. Works of the literature that draw on :math:`[-1, 1]` have four times this error on the
    same images.

    Instead of edited networks, every method takes the images that they draw as well (`outcome`), so that an evaluation
    draws once. A model that answers with several channels, or networks of another space, is refused.

    Shapes:
        output: `WeightFeatures` of `batch` networks, or their images.
        target: `(batch, height, width)`, or `(batch, height, width, 3)` in colour; float32, from 0 to 1.

    Symmetry:
        what changes no network's function changes neither loss nor score, applied to the model's answer.

    Args:
        change: what is done to the images: `dilate` or `contrast` (`tasks.change`).
        canvas: how images are read from networks.
        colours: 1 or 3.
        source: name and checksum of the images.
        images: the originals, for `targets` alone; no part of what makes the task this task.

    Raises:
        UnknownNameError: a change that does not exist.
        DataError: images with another checksum, or of another size.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> from weightspace.zoo.generate import SirenSettings, make_siren_zoo
        >>> images = load_images("digits")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_siren_zoo(folder, images, SirenSettings((16,), steps=200), count=4)
        ...     task = EditImages.of(zoo, images, "dilate")
        ...     networks, target = zoo.features([0, 1]), task.targets(zoo, [0, 1])
        >>> target.shape, bool(task.loss(networks, target) > 0.05)
        (torch.Size([2, 8, 8]), True)

    References:
        Zhou et al., "Permutation Equivariant Neural Functionals", NeurIPS 2023, section 3.3; Kalogeropoulos et al.,
        "Scale Equivariant Graph Metanetworks", NeurIPS 2024, table 3.
    """

    change: str
    canvas: Canvas
    colours: int
    source: tuple[str, str]
    images: InitVar[Images | None] = None

    def __post_init__(self, images: Images | None) -> None:
        if self.change not in CHANGES:
            raise unknown("change", self.change, CHANGES)
        # No field: settings of a run are fields, and hold no pixels.
        object.__setattr__(self, "_images", images)
        if images is not None:
            self._check_images(images)

    @classmethod
    def of(cls, zoo: Zoo, images: Images, change: str) -> "EditImages":
        """The task on the networks of a zoo.

        Args:
            zoo: networks that were fitted to the images, with their numbers in the column `image`.
            images: the data set.
            change: what is done to them.

        Raises:
            DataError: a zoo of networks that hold no images, or other ones; one that does not say of which data set.
            SpecError: networks that are no chain of linear layers with sine, ReLU or tanh.
            UnknownNameError: a change that does not exist.
        """
        source = zoo.manifest.source
        if not isinstance(source.get("checksum"), str) or "image" not in zoo.table.column_names:
            raise DataError(
                f"{zoo!r} does not say which images its networks hold: expected a checksum of the data set in its "
                "manifest and a column 'image', as `weightspace zoo make` writes them. Remedy: fit the images again."
            )
        colours = _colours(zoo.manifest)
        identity = (str(source.get("name")), source["checksum"])
        return cls(change, Canvas.of(zoo.manifest), colours, identity, images)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], images: Images | None = None) -> "EditImages":
        """The task whose `dataclasses.asdict` went through JSON: without images to score answers, with them as it was.

        Args:
            plain: its fields.
            images: the originals, where targets are to be made.

        Raises:
            FormatError: fields that are missing or damaged.
        """
        try:
            canvas, (name, checksum) = Canvas.from_plain(plain["canvas"]), plain["source"]
            return cls(plain["change"], canvas, int(plain["colours"]), (name, checksum), images)
        except (KeyError, TypeError, ValueError) as failure:
            raise FormatError(f"{dict(plain)} describes no editing of images ({failure!r}).") from failure

    def outcome(self, output: WeightFeatures | Tensor) -> Tensor:
        """The images that edited networks draw, not clamped; images as they are. Shape `(batch, height, width[, 3])`.

        Raises:
            ShapeError: features of several channels.
            SpecError: networks of another architecture.
        """
        return output if isinstance(output, Tensor) else self.canvas(output)

    def errors(self, output: WeightFeatures | Tensor, target: Tensor) -> Tensor:
        """The mean squared error of each image, with colours from 0 to 1. Shape `(batch,)`."""
        images = self.outcome(output)
        if images.shape != target.shape:
            raise ShapeError(
                f"the edited networks draw images of shape {tuple(images.shape)}, the targets have shape "
                f"{tuple(target.shape)}: expected the same. Give the targets of these networks, by task.targets."
            )
        return (images - target.to(images.dtype)).square().flatten(1).mean(1)

    def loss(self, output: WeightFeatures | Tensor, target: Tensor) -> Tensor:
        """The mean squared error over all pixels, colours and networks, a scalar tensor."""
        return self.errors(output, target).mean()

    @torch.no_grad()
    def score(self, output: WeightFeatures | Tensor, target: Tensor) -> float:
        """Minus the mean squared error: 0 at best; higher is better."""
        return -float(self.loss(output, target))

    @torch.no_grad()
    def measures(self, output: WeightFeatures | Tensor, target: Tensor) -> dict[str, float]:
        r"""What the edits are worth, by name.

        * `mse`: the mean squared error with colours from 0 to 1, images not clamped; a quarter of what it is with
          colours from -1 to 1.
        * `psnr`: the mean over networks of :math:`-10 \log_{10}` of their squared error, in decibels.
        """
        errors = self.errors(output, target).double()
        return {"mse": errors.mean().item(), "psnr": (-10 * errors.log10()).mean().item()}

    @torch.no_grad()
    def unedited(self, features: WeightFeatures, target: Tensor) -> Tensor:
        """The error of each network where nothing is done to it: what an edit must be better than. Shape `(batch,)`."""
        return self.errors(features, target)

    @torch.no_grad()
    def predict(self, output: WeightFeatures | Tensor) -> Tensor:
        """The mean brightness of each edited image: few numbers, for the record of a run. Shape `(batch,)`."""
        return self.brief(self.outcome(output))

    def brief(self, target: Tensor) -> Tensor:
        """The mean brightness of each target, which stands for it in the record of a run. Shape `(batch,)`."""
        return target.flatten(1).mean(1)

    def targets(self, zoo: Zoo, rows: Any) -> Tensor:
        """The changed originals of the networks in these rows of a zoo. Shape `(rows, height, width[, 3])`, float32.

        Args:
            zoo: of networks that were fitted to the images of this task.
            rows: integer indices of networks.

        Raises:
            DataError: a task without its images, a zoo of other images, or an image that does not exist.
        """
        images: Images | None = getattr(self, "_images", None)
        if images is None:
            raise DataError("this task has no images to change: make it by EditImages.of(zoo, images, change).")
        if zoo.manifest.source.get("checksum") != self.source[1]:
            raise DataError(
                f"the networks of {zoo!r} hold other images than {self.source[0]}, which this task changes."
            )
        numbers = np.atleast_1d(zoo.column("image")[rows])
        if len(wrong := numbers[(numbers < 0) | (numbers >= len(images))]):
            raise DataError(f"{zoo!r} has a network of image {wrong[0]}; {images.name} has {len(images)} images.")
        # A network of its own for each view of an image: each image is changed once.
        known, place = np.unique(numbers, return_inverse=True)
        target = torch.from_numpy(changed(images.train[known], self.change)).float().div_(255)
        return target[torch.from_numpy(place)]

    def check(self, target: Tensor) -> None:
        """Refuse targets that are no images of this task.

        Raises:
            ShapeError: when they have another shape.
            DataError: when they are not floating point numbers from 0 to 1.
        """
        shape = self._shape
        if target.shape[1:] != shape:
            raise ShapeError(
                f"the targets have shape {tuple(target.shape)}: expected (batch, {', '.join(map(str, shape))})."
            )
        # A comparison with nan is false.
        if not target.is_floating_point() or not ((target >= 0) & (target <= 1)).all():
            raise DataError(
                f"the targets hold {target.dtype} from {float(target.min()):g} to {float(target.max()):g}: expected "
                "colours as floating point numbers from 0 to 1."
            )

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.canvas.height, self.canvas.width, *((self.colours,) if self.colours > 1 else ()))

    def _check_images(self, images: Images) -> None:
        name, checksum = self.source
        if images.checksum != checksum:
            raise DataError(
                f"the networks were fitted to {name} with the checksum {checksum[:12]}; these images are {images.name} "
                f"with {images.checksum[:12]}. Give the data set that the zoo was made from."
            )
        if images.train.shape[1:] != self._shape:
            raise DataError(
                f"{images.name} has images of shape {images.train.shape[1:]}, the networks draw {self._shape}: give "
                "the data set that the zoo was made from."
            )


def _colours(manifest: Manifest) -> int:
    """How many numbers the networks give for a pixel."""
    last = manifest.spec.params[-1]
    size = manifest.spec.shape(last.name)[0]
    if size not in (1, 3):
        raise FormatError(f"the networks give {size} numbers for a pixel; expected 1, or 3 colours.")
    return size
