"""Tiny models of every family, and a padded batch for them."""

import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

_SIZE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "num_labels": 3,
}
_DISTIL = {
    "vocab_size": 60,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 40,
    "num_labels": 3,
}
CONFIGS = {
    "bert": lambda: BertConfig(**_SIZE),
    "roberta": lambda: RobertaConfig(**_SIZE, pad_token_id=1),
    "xlm-roberta": lambda: XLMRobertaConfig(**_SIZE, pad_token_id=1),
    "camembert": lambda: CamembertConfig(**_SIZE, pad_token_id=1),
    "electra": lambda: ElectraConfig(**_SIZE, embedding_size=16),
    "distilbert": lambda: DistilBertConfig(**_DISTIL),
    "albert": lambda: AlbertConfig(**_SIZE, embedding_size=16, num_hidden_groups=3),
    "albert-shared": lambda: AlbertConfig(**_SIZE, embedding_size=16),
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def tiny(family, device="cpu", **changes):
    """A tiny model with random weights, large enough that every head matters."""
    torch.manual_seed(0)
    config = CONFIGS[family]()
    config.update(changes)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embedding" not in name:
                parameter.mul_(6)
    return model.to(device)


def padded(model, rows=3, tokens=11):
    """A batch of arbitrary tokens in which all rows but the first are padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        ids[row, tokens - 2 * row :] = model.config.pad_token_id or 0
        mask[row, tokens - 2 * row :] = 0
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
