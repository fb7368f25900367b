"""The images that chains of linear layers hold, many networks at once and with gradients, as plain batched products."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import DataError, FormatError, SpecError
from weightspace.spec import Sine
from weightspace.weights import WeightFeatures
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.inr import FourierFeatures
from weightspace.zoo.generate.template import template

__all__ = ["Canvas", "points"]

COORDINATES = ("row, column", "column, row")
# Networks that are drawn at once where no gradient is asked for: the values of all units at all pixels are held.
_AT_ONCE = 64
_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"sine": torch.sin, "relu": torch.relu, "tanh": torch.tanh}
_MODULES: Mapping[type[nn.Module], str] = {Sine: "sine", nn.ReLU: "relu", nn.Tanh: "tanh"}

Pairs = tuple[tuple[float, float], ...]


def points(coordinates: str, span: Sequence[float], height: int, width: int) -> Tensor:
    """Where networks are asked for the colours of an image.

    Shapes:
        result: ``(height, width, 2)``, float64.

    Args:
        coordinates: "row, column" or "column, row".
        span: coordinates of the first and of the last row, and column.
        height: rows of pixels.
        width: columns.

    Raises:
        FormatError: coordinates of another kind.

    Example:
        >>> points("column, row", (-1.0, 1.0), 1, 3)[0].tolist()
        [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0]]
    """
    if coordinates not in COORDINATES:
        raise FormatError(f"the manifest has the coordinates {coordinates!r}; expected row and column.")
    low, high = span
    sides = [torch.linspace(low, high, size, dtype=torch.float64) for size in (height, width)]
    grid = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1)
    return grid if coordinates == COORDINATES[0] else grid.flip(-1)


@dataclass(frozen=True)
class Canvas:
    r"""How an image is read from networks that are chains of linear layers; plain values, which JSON can hold.

    At a point :math:`x_0`, or at its Fourier features, a network gives

    .. math:: x_l = f_l(\omega_l (W_l x_{l-1} + b_l)), \qquad x_L = W_L x_{L-1} + b_L,

    and the colours are :math:`(x_L + o - l) / (h - l)` for the offset :math:`o` and the colour range :math:`l, h`.

    Args:
        layers: names of the layers in the state dict, in order.
        activations: :math:`f_l` of all layers but the last: sine, relu or tanh.
        omegas: :math:`\omega_l` of the same; 1 where the network has none.
        height: rows of pixels.
        width: columns.
        coordinates: what the networks are asked at: "row, column" or "column, row".
        coordinate_range: coordinates of the first and of the last row, and column.
        output_offset: :math:`o`.
        colour_range: :math:`l, h`: what black and white are in the networks' output.
        frequencies: of the Fourier features, in cycles per unit; none where points are read as they are.

    Raises:
        FormatError: values that describe no chain.

    Symmetry:
        what changes no network's function changes no image.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> canvas = Canvas(("0", "2"), ("sine",), (30.0,), height=4, width=6)
        >>> networks = random_features(spec_of(nn.Sequential(nn.Linear(2, 8), Sine(30.0), nn.Linear(8, 3))), 5)
        >>> canvas(networks).shape
        torch.Size([5, 4, 6, 3])
    """

    layers: tuple[str, ...]
    activations: tuple[str, ...]
    omegas: tuple[float, ...]
    height: int
    width: int
    coordinates: str = COORDINATES[0]
    coordinate_range: tuple[float, float] = (-1.0, 1.0)
    output_offset: float = 0.0
    colour_range: tuple[float, float] = (0.0, 1.0)
    frequencies: Pairs = ()

    def __post_init__(self) -> None:
        hidden = len(self.layers) - 1
        sound = hidden == len(self.activations) == len(self.omegas) and set(self.activations) <= set(_FUNCTIONS)
        if hidden < 0 or not sound or min(self.height, self.width) < 1 or self.colour_range[0] == self.colour_range[1]:
            raise FormatError(
                f"{self} describes no images: expected layers, an activation ({', '.join(_FUNCTIONS)}) and an omega "
                "for each of them but the last, a height and a width, and a range of colours."
            )

    @classmethod
    def of(cls, manifest: Manifest, height: int | None = None, width: int | None = None) -> "Canvas":
        """How the images of a zoo are read, by its manifest.

        Args:
            manifest: of a zoo of SIRENs or ReLU networks that was made here, or of imported chains.
            height: rows of pixels. Default: those of the images that the networks were fitted to.
            width: columns likewise.

        Raises:
            DataError: networks that hold no images, or a size that is neither given nor recorded.
            SpecError: networks that are no such chain.
            FormatError: a manifest that is damaged.
        """
        forward = manifest.forward
        if "coordinates" not in forward or "colour_range" not in forward:
            raise DataError(
                f"networks of the recipe {manifest.recipe} hold no images; expected networks that were fitted to some."
            )
        given = {"height": height, "width": width}
        sizes: dict[str, Any] = {name: forward.get(name) if value is None else value for name, value in given.items()}
        if not all(isinstance(size, int) and size > 0 for size in sizes.values()):
            told = " x ".join(str(size) for size in sizes.values())
            raise DataError(f"the size is {told}; expected pixels of both. Remedy: give height and width.")
        try:
            read: dict[str, Any] = {
                "coordinate_range": tuple(map(float, forward["coordinate_range"])),
                "output_offset": float(forward["output_offset"]),
                "colour_range": tuple(map(float, forward["colour_range"])),
            }
        except (KeyError, TypeError, ValueError) as failure:
            raise FormatError(f"the forward pass of the manifest is damaged ({failure!r}).") from failure
        return cls(**_chain(manifest), **sizes, **read, coordinates=forward["coordinates"])

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Canvas":
        """The canvas whose `dataclasses.asdict` went through JSON."""
        return cls(**{field.name: _tupled(plain[field.name]) for field in fields(cls) if field.name in plain})

    def __call__(self, networks: WeightFeatures) -> Tensor:
        """The images of networks, which are not clamped, so that a gradient comes from every pixel.

        In single precision at least, whatever the precision around it: sines of high frequency bear no less.

        Shapes:
            result: ``(n, height, width)``, or ``(n, height, width, colours)`` for more than one.

        Raises:
            ShapeError: features with more than one channel.
            SpecError: networks without these layers.
        """
        if torch.is_grad_enabled() or len(networks) <= _AT_ONCE:
            return self._drawn(networks)
        return torch.cat([self._drawn(networks[at : at + _AT_ONCE]) for at in range(0, len(networks), _AT_ONCE)])

    def _drawn(self, networks: WeightFeatures) -> Tensor:
        with torch.autocast(networks.device.type, enabled=False):
            dtype = torch.promote_types(networks.dtype, torch.float32)
            state = {key: value.to(dtype) for key, value in networks.to_state().items()}
            if f"{self.layers[0]}.weight" not in state or f"{self.layers[-1]}.weight" not in state:
                raise SpecError(f"the networks have {', '.join(state)}: expected layers {', '.join(self.layers)}.")
            values = self._read(dtype, networks.device)
            for layer, name, omega in zip(self.layers, self.activations, self.omegas, strict=False):
                values = _FUNCTIONS[name](_affine(state, layer, values, omega))
            planes = _affine(state, self.layers[-1], values, 1.0)
            low, high = self.colour_range
            images = ((planes + (self.output_offset - low)) / (high - low)).unflatten(2, (self.height, self.width))
            return images[:, 0] if images.shape[1] == 1 else images.permute(0, 2, 3, 1)

    def _read(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """What the first layer reads at every pixel. Shape ``(feature, pixel)``."""
        grid = points(self.coordinates, self.coordinate_range, self.height, self.width).flatten(0, 1)
        if self.frequencies:
            grid = FourierFeatures(torch.tensor(self.frequencies, dtype=torch.float64))(grid)
        return grid.T.to(device, dtype)


def _affine(state: Mapping[str, Tensor], layer: str, values: Tensor, omega: float) -> Tensor:
    """A linear layer of every network, times omega. Values are ``(feature, pixel)`` for all networks, or of each."""
    weight, bias = state[f"{layer}.weight"], state.get(f"{layer}.bias")
    # The factor goes into the product: no pass of its own over all pixels, forwards or backwards.
    if values.ndim == 2:
        # One product for all networks, since they are asked at the same points.
        rows = weight.flatten(0, 1)
        shared = (
            torch.addmm(bias.reshape(-1, 1), rows, values, beta=omega, alpha=omega)
            if bias is not None
            else omega * rows @ values
        )
        return shared.unflatten(0, weight.shape[:2])
    if bias is None:
        return torch.bmm(omega * weight, values)
    return torch.baddbmm(bias[..., None], weight, values, beta=omega, alpha=omega)


def _chain(manifest: Manifest) -> dict[str, Any]:
    """Layers, activations, omegas and frequencies of a zoo's networks."""
    record = manifest.settings.get("template")
    if record is None:
        return _chain_of_module(template(manifest))
    text = record.get("activation") if isinstance(record, Mapping) and record.get("kind") == "chain" else None
    name, _, constant = str(text).partition(":")
    if name not in _FUNCTIONS or not isinstance(record.get("shapes"), Mapping):
        raise _no_chain(f"of {text}" if text else "that the manifest does not describe as a chain")
    layers = tuple(dict.fromkeys(key.rpartition(".")[0] for key in record["shapes"]))
    # The usual frequency of a SIREN stands where none is given.
    omega = float(constant.removeprefix("omega=") or 30.0) if name == "sine" else 1.0
    hidden = len(layers) - 1
    return {"layers": layers, "activations": (name,) * hidden, "omegas": (omega,) * hidden}


def _chain_of_module(module: nn.Module) -> dict[str, Any]:
    layers: list[str] = []
    names: list[str] = []
    omegas: list[float] = []
    frequencies: Pairs = ()
    for name, child in module.named_children():
        if isinstance(child, FourierFeatures) and not layers:
            frequencies = _tupled(child.frequencies.tolist())  # type: ignore[operator]
        elif isinstance(child, nn.Linear) and len(layers) == len(names):
            layers.append(name)
        elif type(child) in _MODULES and len(layers) == len(names) + 1:
            names.append(_MODULES[type(child)])
            omegas.append(float(child.omega) if isinstance(child, Sine) else 1.0)
        else:
            raise _no_chain(f"with a {type(child).__name__} at {name!r}")
    if not isinstance(module, nn.Sequential) or len(layers) != len(names) + 1:
        raise _no_chain(f"of {type(module).__name__}")
    return {"layers": tuple(layers), "activations": tuple(names), "omegas": tuple(omegas), "frequencies": frequencies}


def _no_chain(which: str) -> SpecError:
    return SpecError(
        f"networks {which} cannot be drawn together: expected linear layers with {', '.join(_FUNCTIONS)} between them."
    )


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list | tuple) else value
