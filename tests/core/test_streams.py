"""Random streams: the same on every machine and in every version, and unrelated to one another."""

from __future__ import annotations

from itertools import combinations, product
from typing import Final, get_args

import pytest
import torch

from nnlab.core.rng import Purpose, stream, stream_seed

PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)

# Were one of these to change, every result ever recorded would be another experiment.
FIRST_VALUES: Final[dict[tuple[Purpose, int], tuple[int, list[float]]]] = {
    ("split", 0): (2248291252533400264, [0.09337931345472494, 0.5475933084584211]),
    ("init", 0): (9062840819779163815, [0.8742224475497339, 0.1186942371650842]),
    ("order", 0): (7595681051348692584, [0.3960345702261938, 0.5276857976744574]),
    ("dropout", 0): (2103677350869004773, [0.666259731318738, 0.9803030883728815]),
    ("noise", 0): (7817147744985509025, [0.6338865465528551, 0.7234353575097092]),
    ("init", 1): (582859583612444927, []),
    ("order", 1): (4993721361729760359, []),
}


def draws(seed: int, purpose: Purpose, num: int = 4000) -> torch.Tensor:
    return torch.rand(num, generator=stream(seed, purpose), dtype=torch.float64)


@pytest.mark.parametrize(("purpose", "seed"), FIRST_VALUES)
def test_the_first_values_of_a_stream_are_those_they_have_always_been(purpose, seed):
    start, values = FIRST_VALUES[purpose, seed]
    assert stream_seed(seed, purpose) == start
    assert draws(seed, purpose)[: len(values)].tolist() == values


def test_the_order_of_the_rows_is_the_one_it_has_always_been():
    assert torch.randperm(8, generator=stream(3, "order")).tolist() == [0, 5, 4, 1, 2, 6, 7, 3]


def test_two_generators_of_one_stream_draw_the_same_and_share_no_state():
    one, other = stream(7, "init"), stream(7, "init")
    first = torch.rand(5, generator=one)
    torch.rand(50, generator=one)
    assert torch.equal(torch.rand(5, generator=other), first)


def test_streams_are_not_correlated_with_one_another_nor_seeds_with_their_neighbours():
    each = torch.stack([draws(seed, purpose) for seed, purpose in product(range(4), PURPOSES)])
    correlation = torch.corrcoef(each) - torch.eye(len(each))
    # 190 pairs of 4000 independent draws: the largest is about 3 / sqrt(4000); 5 of them is one in a million.
    assert correlation.abs().max() < 5 / 4000**0.5
    assert all(not torch.equal(a, b) for a, b in combinations(each, 2))


def test_no_two_of_many_seeds_start_alike():
    starts = {stream_seed(seed, purpose) for seed, purpose in product(range(2000), PURPOSES)}
    assert len(starts) == 2000 * len(PURPOSES)
    assert all(0 <= start < 2**63 for start in starts)
    assert stream_seed(2**53, "init") != stream_seed(0, "init")


def test_the_global_generator_is_neither_read_nor_moved():
    before = torch.random.get_rng_state()
    draws(0, "init")
    assert torch.equal(torch.random.get_rng_state(), before)
