"""The served network with its small operations fused by `torch.compile`: faster steps for a minute of compiling.

Off unless asked for (`World.compiled`): it needs a C++ compiler. What is compiled is kept on disk by torch
(TORCHINDUCTOR_CACHE_DIR), so later processes only load it. Shapes are fixed: another number of rollouts compiles the
transformer's part again. Pictures are equal to the plain ones up to rounding, and repeat.
"""

import copy
import os
import shutil

import torch

from .served import ServedModel
from .served_block import ready, settle


def compiled(model: ServedModel) -> ServedModel:
    """A copy that shares weights; compiles when it is first used.

    Raises:
        RuntimeError: if there is no C++ compiler.
    """
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(shutil.which(name) for name in wanted):
        raise RuntimeError(f"compiling a world needs a C++ compiler, none of {wanted} was found; install one, name it "
                           f"in the environment variable CXX, or step the world without compiled()")
    other = copy.copy(model)
    other.blocks = [copy.copy(block) for block in model.blocks]
    run_ready, run_settle = torch.compile(ready, dynamic=False), torch.compile(settle, dynamic=False)
    for block in other.blocks:
        block.ready, block.settle = run_ready, run_settle  # the same for all blocks: weights are arguments
    other.correct = torch.compile(model.decoder.correction, dynamic=False)
    return other
