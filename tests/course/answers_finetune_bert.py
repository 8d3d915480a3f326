"""Answers to lesson 05: right ones in several styles, and wrong ones, with what is said to them."""

import copy
import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence


# --- pad_batch ---
def padded_by_lists(rows, pad_id):
    longest = max(len(row) for row in rows)
    ids = [row + [pad_id] * (longest - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


def padded_by_lengths(rows, pad_id):
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(lengths.max()) < lengths[:, None]
    ids = torch.full(mask.shape, pad_id)
    ids[mask] = torch.tensor(list(itertools.chain(*rows)))
    return ids, mask


def padded_by_torch(rows, pad_id):
    tensors = [torch.tensor(row) for row in rows]
    ids = pad_sequence(tensors, batch_first=True, padding_value=pad_id)
    return ids, pad_sequence([torch.ones_like(one) for one in tensors], batch_first=True)


def padded_in_place(rows, pad_id):
    longest = max(len(row) for row in rows)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    for row in rows:
        while len(row) < longest:
            row.append(pad_id)
    return torch.tensor(rows), mask


def padded_on_the_left(rows, pad_id):
    ids, mask = padded_by_lists([row[::-1] for row in rows], pad_id)
    return ids.flip(1), mask.flip(1)


def mask_from_the_ids(rows, pad_id):
    ids, _ = padded_by_torch(rows, pad_id)
    return ids, (ids != pad_id).long()


# --- accumulate ---
def accumulated_by_shares(model, loss_function, parts):
    texts, total = sum(len(labels) for _, labels in parts), 0.0
    model.zero_grad()
    for inputs, labels in parts:
        loss = loss_function(model(inputs), labels) * len(labels) / texts
        loss.backward()
        total += loss.item()
    return total


def accumulated_by_hand(model, loss_function, parts):
    """A sum of gradients, divided at the end."""
    parameters = list(model.parameters())
    sums, texts, total = [torch.zeros_like(one) for one in parameters], 0, 0.0
    for inputs, labels in parts:
        loss = len(labels) * loss_function(model(inputs), labels)
        for one, gradient in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            one += gradient
        texts, total = texts + len(labels), total + float(loss)
    for parameter, one in zip(parameters, sums, strict=True):
        parameter.grad = one / texts
    return total / texts


def accumulated_after_a_look(model, loss_function, parts):
    """The mean first, without gradients; then part by part."""
    texts = sum(len(labels) for _, labels in parts)
    with torch.no_grad():
        losses = [loss_function(model(inputs), labels) * len(labels) for inputs, labels in parts]
    model.zero_grad()
    for inputs, labels in parts:
        (loss_function(model(inputs), labels) * len(labels) / texts).backward()
    return float(sum(losses) / texts)


def all_at_once(model, loss_function, parts):
    model.zero_grad()
    inputs, labels = (torch.cat(one) for one in zip(*parts, strict=True))
    loss = loss_function(model(inputs), labels)
    loss.backward()
    return loss.item()


def backward_at_the_end(model, loss_function, parts):
    model.zero_grad()
    losses = [len(labels) * loss_function(model(inputs), labels) for inputs, labels in parts]
    loss = sum(losses) / sum(len(labels) for _, labels in parts)
    loss.backward()
    return loss.item()


def keeps_the_graph(model, loss_function, parts):
    texts, total = sum(len(labels) for _, labels in parts), 0.0
    model.zero_grad()
    for inputs, labels in parts:
        loss = loss_function(model(inputs), labels) * len(labels) / texts
        loss.backward()
        total += loss
    return total


# --- LoRA ---
class LowRank(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.factor = alpha / rank

    def forward(self, x):
        return self.linear(x) + self.factor * (x @ self.A.T @ self.B.T)

    def merge(self):
        merged = copy.deepcopy(self.linear)
        merged.weight.data += self.factor * self.B @ self.A
        return merged


class LowRankByFunctions(nn.Module):
    """Frozen by detaching, with kaiming's start, and a merged layer built from nothing."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.rank, self.alpha = linear, rank, alpha
        for parameter in linear.parameters():
            parameter.requires_grad = False
        self.A = nn.Parameter(torch.empty(rank, linear.in_features))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)
        self.B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))

    def forward(self, x):
        narrow = functional.linear(x, self.A)
        return self.linear(x) + functional.linear(narrow, self.B) * self.alpha / self.rank

    def merge(self):
        merged = nn.Linear(self.linear.in_features, self.linear.out_features)
        with torch.no_grad():
            merged.weight.copy_(self.linear.weight + self.alpha / self.rank * (self.B @ self.A))
            merged.bias.copy_(self.linear.bias)
        return merged


class NoFactor(LowRank):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, rank)


class RankInTheWrongPlace(LowRank):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear, rank, alpha)
        self.A = nn.Parameter(torch.randn(linear.in_features, rank))


class MergesItself(LowRank):
    def merge(self):
        self.linear.weight.data += self.factor * self.B @ self.A
        return self.linear


# --- calibration_error ---
def error_bin_by_bin(logits, labels, temperature, bins=10):
    shares = (logits / temperature).softmax(-1)
    confidence, guesses = shares.max(-1)
    error = 0.0
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            accuracy = (guesses[inside] == labels[inside]).float().mean()
            error += inside.float().mean() * (confidence[inside].mean() - accuracy).abs()
    return float(error)


def error_by_numpy(logits, labels, temperature, bins=10):
    shares = torch.softmax(logits / temperature, -1).numpy()
    gaps = shares.max(1) - (shares.argmax(1) == labels.numpy())
    places = np.minimum((shares.max(1) * bins).astype(int), bins - 1)
    return np.abs(np.bincount(places, gaps, bins)).sum().item() / len(gaps)


def error_of_empty_bins_too(logits, labels, temperature, bins=10):
    confidence, guesses = (logits / temperature).softmax(-1).max(-1)
    places = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [
        (confidence[places == k].mean() - (guesses == labels)[places == k].float().mean()).abs()
        for k in range(bins)
    ]
    return sum(gap.item() * (places == k).float().mean().item() for k, gap in enumerate(gaps))


def error_without_its_temperature(logits, labels, temperature, bins=10):
    return error_bin_by_bin(logits, labels, 1.0, bins)


# --- entities ---
def entities_by_looking_ahead(tags):
    found, place = [], 0
    while place < len(tags):
        end = place + 1
        if tags[place][0] == "B":
            kind = tags[place].split("-")[1]
            while end < len(tags) and tags[end] == "I-" + kind:
                end += 1
            found.append((kind, place, end))
        place = end
    return found


def entities_as_lists(tags):
    found, kind = [], None
    for number, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            found[-1].append(number)
            kind = None
        if tag.startswith("B-"):
            kind = tag[2:]
            found.append([kind, number])
    return found


def entities_without_the_last(tags):
    found, kind, first = [], None, 0
    for number, tag in enumerate(tags):
        if kind and tag != f"I-{kind}":
            found.append((kind, first, number))
            kind = None
        if tag.startswith("B-"):
            kind, first = tag[2:], number
    return found


def entities_that_eat_the_tags(tags):
    found = entities_by_looking_ahead(tags)
    tags.clear()
    return found


def never_ends(*arguments):
    while True:
        pass


RIGHT = {
    "pad_batch": [padded_by_lists, padded_by_lengths, padded_by_torch],
    "accumulate": [accumulated_by_shares, accumulated_by_hand, accumulated_after_a_look],
    "LoRA": [LowRank, LowRankByFunctions],
    "calibration_error": [error_bin_by_bin, error_by_numpy],
    "entities": [entities_by_looking_ahead, entities_as_lists],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "pad_batch": [
        (mask_from_the_ids, "taken for padding"),
        (padded_on_the_left, "padding stands before"),
        (padded_in_place, "changes a list"),
        (lambda rows, pad: padded_by_lists(rows, pad)[0], "two things are asked"),
        (lambda rows, pad: [one.numpy() for one in padded_by_lists(rows, pad)], "numpy"),
        (lambda rows, pad: [one.tolist() for one in padded_by_lists(rows, pad)], "not a tensor"),
    ],
    "accumulate": [
        (all_at_once, "13 texts at once"),
        (backward_at_the_end, "results of 3 parts are in memory"),
        (keeps_the_graph, "tensor with its graph"),
        (lambda *given: torch.tensor(accumulated_by_shares(*given)), "not a plain number"),
        (never_ends, "did not end"),
    ],
    "LoRA": [
        (NoFactor, "without its factor"),
        (RankInTheWrongPlace, "no parameter self.A"),
        (MergesItself, "adds the correction twice"),
        (lambda linear, rank, alpha: linear.weight, r"not a torch\.nn\.Module"),
    ],
    "calibration_error": [
        (error_of_empty_bins_too, "0 / 0"),
        (error_without_its_temperature, "temperature changes nothing"),
        (lambda *given: 100 * error_bin_by_bin(*given), "factor of 100"),
        (lambda *given: torch.tensor(error_bin_by_bin(*given)), "not a plain number"),
    ],
    "entities": [
        (entities_without_the_last, "end of the text is lost"),
        (entities_that_eat_the_tags, "changes a list"),
        (lambda tags: [one[0] for one in entities_as_lists(tags)], "three things are asked"),
    ],
}
