"""What a step's passes share of a ring: against the definition of attention to it."""

import pytest
import torch
from test_kernels_window_attention import aged, flight, reference, relative_rms, tables

from kernels import PastFrames


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize(("ages", "capacity", "sinks"), [
    ([0, 1, 4, 9], 4, 1), ([3, 3], 5, 2), ([17, 6, 5], 3, 0), ([1, 2, 8], 2, 2), ([3], 0, 0), ([0, 0], 3, 1),
    ([9], 4, 0)])
def test_every_pass_over_one_past_is_the_definition(ages: list[int], capacity: int, sinks: int, window: int,
                                                    causal: bool) -> None:
    cache, rope = aged(ages, capacity, sinks), tables(capacity + window)
    past = PastFrames(cache, rope, window)
    for frames in range(1, window + 1):  # what an earlier pass left behind is not seen
        q, k, v = flight(len(ages), frames)
        assert relative_rms(past.attend(q, k, v, causal), reference(q, k, v, cache, rope, causal)) < 1e-14


def test_a_stream_does_not_depend_on_its_neighbours_or_its_place_in_the_ring() -> None:
    rope, (q, k, v) = tables(6), flight(3, 1)
    cache = aged([9, 2, 6], 4, 0)
    together = PastFrames(cache, rope).attend(q, k, v)
    for b in range(3):
        alone = PastFrames(cache.take([b]), rope).attend(q[b : b + 1], k[b : b + 1], v[b : b + 1])
        assert alone.equal(together[b : b + 1])


def test_rings_that_it_cannot_read_are_refused() -> None:
    with pytest.raises(ValueError, match=r"need a floating ring on a CPU, got torch\.int8 on cpu; use window"):
        PastFrames(aged([1], 2, 0, dtype=torch.int8), tables(3))
