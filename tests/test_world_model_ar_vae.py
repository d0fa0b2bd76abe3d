"""The AR-VAE: a frame's tokens are its own, decoding is causal, streams, and costs the same however long."""

import pytest
import torch

from world_model.ar_vae import ArVae, jitter
from world_model.vae_config import VaeConfig


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    model = ArVae(VaeConfig(height=16, width=24, patch=[8, 8], tokens=5, channels=4, dim=24, heads=3, encoder_layers=2,
                            decoder_layers=2, mlp_ratio=2, window=3, canvas=6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval().requires_grad_(False)


@pytest.fixture
def frames():
    return torch.randint(0, 256, (2, 9, 16, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_tokens_of_a_frame_ignore_all_other_frames_exactly(vae, frames):
    tokens, changed = vae.encode(frames), frames.clone()
    changed[:, [0, 1, 2, 4, 5, 6, 7, 8]] = 255 - changed[:, [0, 1, 2, 4, 5, 6, 7, 8]]
    assert tokens.shape == (2, 9, 5, 4)
    assert torch.equal(vae.encode(changed)[:, 3], tokens[:, 3])
    assert not torch.equal(vae.encode(changed)[:, 4], tokens[:, 4])


def test_every_token_is_on_the_sphere_and_stays_there(vae, frames):
    tokens = vae.encode(frames)
    for some in (tokens, jitter(tokens, 0.3, torch.Generator().manual_seed(0))):
        torch.testing.assert_close(some.square().mean(-1), torch.ones(2, 9, 5), rtol=1e-5, atol=1e-5)


def test_a_picture_depends_on_its_window_alone(vae, frames):
    tokens = vae.encode(frames)
    whole, _ = vae.decode(tokens)
    changed = tokens.clone()
    changed[:, 4] = -changed[:, 4]
    differs = (vae.decode(changed)[0] != whole).flatten(2).any(-1).any(0)
    assert whole.shape == (2, 9, 16, 24, 3)
    # a layer looks two frames back, two layers four; nobody looks ahead
    assert differs.tolist() == [False] * 4 + [True] * 5
    changed = tokens.clone()
    changed[:, 0] = -changed[:, 0]
    assert (vae.decode(changed)[0] != whole).flatten(2).any(-1).any(0).tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize("pieces", [[1] * 9, [4, 5], [1, 7, 1], [9]])
def test_streaming_is_decoding_at_once(vae, frames, pieces):
    tokens = vae.encode(frames)
    whole, _ = vae.decode(tokens)
    cache, drawn = None, []
    for part in tokens.split(pieces, 1):
        picture, cache = vae.decode(part, cache)
        drawn.append(picture)
    torch.testing.assert_close(torch.cat(drawn, 1), whole, rtol=1e-4, atol=1e-4)


def test_the_cache_never_grows_beyond_its_window(vae, frames):
    tokens = vae.encode(frames)
    cache, sizes = None, []
    for t in range(9):
        _, cache = vae.decode(tokens[:, t : t + 1], cache)
        sizes.append(sum(part.nbytes for past in cache for part in past))
    assert sizes == [sizes[0]] * 9
    assert [k.shape[1] for k, _, _ in cache] == [2] * 4 and all(known.tolist() == [2, 2] for *_, known in cache)


def test_rollouts_of_different_ages_are_decoded_together(vae, frames):
    tokens = vae.encode(frames)
    old, young = vae.decode(tokens[:1, :6])[1], vae.decode(tokens[1:, :1])[1]
    both = [tuple(torch.cat(pair) for pair in zip(a, b, strict=True)) for a, b in zip(old, young, strict=True)]
    drawn, _ = vae.decode(torch.stack([tokens[0, 6], tokens[1, 1]])[:, None], both)
    torch.testing.assert_close(drawn[:1], vae.decode(tokens[:1, :7])[0][:, -1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drawn[1:], vae.decode(tokens[1:, :2])[0][:, -1:], rtol=1e-4, atol=1e-4)


def test_untrained_attention_in_time_adds_nothing():
    torch.manual_seed(0)
    fresh = ArVae(VaeConfig(height=16, width=16, tokens=3, dim=24, heads=3, encoder_layers=1, decoder_layers=1))
    tokens = fresh.encode(torch.randint(0, 256, (1, 3, 16, 16, 3), dtype=torch.uint8))
    alone = torch.cat([fresh.decode(tokens[:, t : t + 1])[0] for t in range(3)], 1)
    torch.testing.assert_close(fresh.decode(tokens)[0], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("wrong", "said"), [({"patch": [7, 8]}, "two even numbers that divide"),
                                             ({"dim": 101}, "multiple of heads"), ({"channels": 1}, "from 2 to 64"),
                                             ({"tokens": 0}, "from 1 to 1024")])  # fmt: skip
def test_impossible_sizes_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        VaeConfig(**wrong)
