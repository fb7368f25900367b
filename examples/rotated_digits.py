"""Train two networks on upright digits, then show them turned ones: a GM-CNN on the group p4, and an ordinary CNN.

Run it from any folder: `python rotated_digits.py`. Less than a minute, no download. Both networks have about as many
parameters, and get the same digits, in a black frame so that they can turn.
"""

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.groups import box, p4, point_group
from weightspace.matrices import GMCNN, CosetLift
from weightspace.zoo import load_images, turn


def symmetric() -> nn.Module:
    group = p4(12)
    network = GMCNN(group, 1, 10, box(group, 1), channels=16)
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, (144, 1)), CosetLift(point_group(group)), network)


def ordinary() -> nn.Module:
    convs = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
    body = [(conv, nn.LayerNorm((32, 12, 12), elementwise_affine=False), nn.PReLU()) for conv in convs]
    return nn.Sequential(*sum(body, ()), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def main(updates: int = 400) -> dict[str, dict[int, float]]:
    images, train, test = load_images("digits"), slice(0, 1300), slice(1300, None)
    pixels, labels = np.pad(images.train, [(0, 0), (2, 2), (2, 2)]), torch.tensor(images.labels)

    def turned(part: slice, degrees: float) -> Tensor:
        return torch.tensor(turn(pixels[part], degrees))[:, None] / 128 - 0.3

    found: dict[str, dict[int, float]] = {}
    for name, build in {"p4 GM-CNN": symmetric, "plain CNN": ordinary}.items():
        torch.manual_seed(0)
        network, x, y = build(), turned(train, 0), labels[train]
        optimiser = torch.optim.AdamW(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=updates)
        for _ in range(updates):
            rows = torch.randint(len(x), (64,))
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
        told = {degrees: network(turned(test, degrees)).argmax(1) for degrees in (0, 90, 180, 45)}
        found[name] = {degrees: float((answer == labels[test]).float().mean()) for degrees, answer in told.items()}
        size = sum(parameter.numel() for parameter in network.parameters())
        right = ", ".join(f"{share:.0%} turned by {degrees}°" for degrees, share in found[name].items())
        print(f"{name}: {size:,} parameters; right: {right}", flush=True)
    return found


if __name__ == "__main__":
    main()
