"""Writers with random weights, for tests of what needs no training."""

import torch

from attnlab.language import Characters, LanguageModel, Writer


def tiny_writer(seed=0, strength=6.0, start=False, **options):
    """A writer of letters, whose model has random weights large enough to have opinions."""
    tokens = Characters(" \nabcdefghijklmnopqrstuvwxyzOT.,", start)
    torch.manual_seed(seed)
    model = LanguageModel(len(tokens), **{"d_model": 32, "heads": 4, "layers": 2, **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(strength)
    return Writer(model, tokens, "letters")
