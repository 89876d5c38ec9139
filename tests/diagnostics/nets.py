"""Random nets with kinks at the point, near it, or wherever they fall."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnlab.diagnostics.gradcheck.subjects import Subject, module_subject


class Absolute(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Maxout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x[:, ::2], x[:, 1::2])


class Masked(nn.Module):
    """A ReLU as people write it by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, torch.zeros_like(x))


KINKED = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.ELU, nn.SELU, nn.Hardswish, Absolute, Maxout, Masked)
LOSSES = (nn.L1Loss, nn.MSELoss, nn.SmoothL1Loss, nn.HuberLoss)


def random_net(seed: int) -> Subject:
    """A net of one to three kinked layers, dense or convolutional, with max-pooling and a loss that may be L1.

    A third of the nets have whole numbers everywhere, so that pre-activations are exactly 0, windows tie and residuals
    vanish; a third are moved from there by 1e-10 to 1e-2; the rest are normal draws.
    """
    generator = torch.Generator().manual_seed(seed)

    def pick(options):
        return options[int(torch.randint(len(options), (), generator=generator))]

    layers = _convolutional(pick) if seed % 4 == 0 else _dense(pick)
    module = nn.Sequential(*layers).double()
    module.train(False)
    shape = (3, 2, 8) if seed % 4 == 0 else (4, 6)
    x = _values(shape, seed, generator)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(_values(parameter.shape, seed, generator))
        target = module(x)
        # Half of the residuals are exactly 0: an L1 loss at its kink.
        target = target + torch.randint(0, 2, target.shape, generator=generator)
    return module_subject(module, [x], loss=pick(LOSSES)(), target=target, name=f"net {seed}")


def _dense(pick) -> list[nn.Module]:
    layers: list[nn.Module] = []
    width = 6
    for _ in range(pick((1, 2, 3))):
        wide = pick((4, 6))
        kinked = pick(KINKED)()
        layers += [nn.Linear(width, wide, bias=pick((True, False))), kinked]
        width = wide // 2 if isinstance(kinked, Maxout) else wide
    return [*layers, nn.Linear(width, 2)]


def _convolutional(pick) -> list[nn.Module]:
    return [nn.Conv1d(2, 3, 3), pick(KINKED[:-2])(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(9, 2)]


def _values(shape, seed: int, generator: torch.Generator) -> Tensor:
    if seed % 3 == 2:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    whole = torch.randint(-1, 2, shape, generator=generator).double()
    if seed % 3 == 0:
        return whole
    distance = 10.0 ** (-10 + 8 * torch.rand((), generator=generator, dtype=torch.float64))
    return whole + distance * torch.randn(shape, generator=generator, dtype=torch.float64)
