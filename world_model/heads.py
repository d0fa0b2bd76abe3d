"""What happened in a frame besides its picture: the reward and whether the episode ended."""

import torch
from torch import Tensor, nn


class OutcomeHead(nn.Module):
    """Reward (a choice among the values the data hold) and termination, read from a committed frame's tokens."""

    def __init__(self, dim: int, reward_values: list[float]):
        super().__init__()
        self.reward_values = reward_values
        self.norm = nn.LayerNorm(dim)
        self.score = nn.Linear(dim, 1)
        self.hidden = nn.Linear(dim, dim)
        self.reward = nn.Linear(dim, len(reward_values))
        self.termination = nn.Linear(dim, 1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, N, D] -> reward logits [B, T, R], termination logits [B, T]; float32."""
        tokens = self.norm(tokens)
        pooled = (self.score(tokens).float().softmax(2).to(tokens.dtype) * tokens).sum(2)
        hidden = torch.nn.functional.gelu(self.hidden(pooled))
        return self.reward(hidden).float(), self.termination(hidden).float()[..., 0]

    def decide(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The most likely reward [B, T] float32 and termination [B, T] bool."""
        reward_logits, termination_logits = self(tokens)
        values = torch.tensor(self.reward_values, dtype=torch.float32, device=reward_logits.device)
        return values[reward_logits.argmax(-1)], termination_logits > 0
