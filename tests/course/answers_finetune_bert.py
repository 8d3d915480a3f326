"""Answers to lesson 05: right ones in several styles, and wrong ones, with what is said to them."""

import itertools

import torch
from torch.nn.utils.rnn import pad_sequence

from attnlab.training import loop as training


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


# --- learning_rate_at ---
def rate_in_two_pieces(step, steps, warmup, highest):
    if step < warmup:
        return highest * (step + 1) / warmup
    if step >= steps:
        return 0.0
    return highest * (1 - (step - warmup) / (steps - warmup))


def rate_as_the_lower_of_two_lines(step, steps, warmup, highest):
    up, down = (step + 1) / max(warmup, 1), (steps - step) / max(steps - warmup, 1)
    return highest * max(0, min(up, down))


def begins_again(step, steps, warmup, highest):
    return rate_in_two_pieces(step % steps, steps, warmup, highest)


def both_lines_at_once(step, steps, warmup, highest):
    warmup_or_one = max(warmup, 1)
    return max(0, highest * min((step + 1) / warmup_or_one, 1, (steps - step) / (steps - warmup)))


def rate_by_slopes(step, steps, warmup, highest):
    """What rounding leaves at the end is no mistake."""
    if step < warmup:
        return highest / warmup * (step + 1)
    if warmup >= steps:
        return 0.0
    return max(0.0, highest - highest / (steps - warmup) * (step - warmup))


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


# --- evaluate ---
def evaluated_with_no_grad(model, batches):
    before = model.training
    model.eval()
    right = texts = 0
    with torch.no_grad():
        for inputs, labels in batches:
            right += (model(inputs).argmax(-1) == labels).sum().item()
            texts += len(labels)
    model.train(before)
    return right / texts


@torch.inference_mode()
def evaluated_at_once(model, batches):
    trains = model.training
    hits = torch.cat([model.eval()(inputs).max(1).indices == labels for inputs, labels in batches])
    model.train(trains)
    return float(hits.double().mean())


def switch_off_for_good(model, batches):
    torch.set_grad_enabled(False)
    return evaluated_with_no_grad(model, batches)


def first_batch_only(model, batches):
    return evaluated_with_no_grad(model, batches[:1])


@torch.no_grad()
def measured_as_it_stands(model, batches):
    hits = torch.cat([model(inputs).argmax(1) == labels for inputs, labels in batches])
    return hits.float().mean().item()


# --- choose ---
def chosen_by_max(candidates, dev_accuracy, test_accuracy):
    best = max(candidates, key=dev_accuracy)
    return best, test_accuracy(best)


def chosen_by_a_loop(candidates, dev_accuracy, test_accuracy):
    best, highest = None, -1.0
    for candidate in candidates:
        figure = dev_accuracy(candidate)
        if figure > highest:
            best, highest = candidate, figure
    return best, test_accuracy(best)


def chosen_by_torch(candidates, dev_accuracy, test_accuracy):
    figures = [dev_accuracy(one) for one in candidates]
    best = candidates[figures.index(max(figures))]
    return [best, test_accuracy(best)]


def looks_twice(candidates, dev_accuracy, test_accuracy):
    best = max(candidates, key=dev_accuracy)
    if test_accuracy(best) < 0.5:
        return None
    return best, test_accuracy(best)


def returns_inside_the_loop(candidates, dev_accuracy, test_accuracy):
    best = 0.0
    for candidate in candidates:
        if dev_accuracy(candidate) > best:
            return candidate, test_accuracy(candidate)
    return None


def measures_places(candidates, dev_accuracy, test_accuracy):
    best = max(range(len(candidates)), key=dev_accuracy)
    return candidates[best], test_accuracy(best)


# --- align_labels ---
def aligned_by_neighbours(word_ids, labels):
    aligned, before = [], None
    for word in word_ids:
        new = word is not None and word != before
        aligned.append(labels[word] if new else -100)
        before = word
    return aligned


def aligned_by_first_places(word_ids, labels):
    aligned = torch.full((len(word_ids),), -100)
    for word in {word for word in word_ids if word is not None}:
        aligned[word_ids.index(word)] = labels[word]
    return aligned.tolist()


def one_label_for_each_word(word_ids, labels):
    return [-100, *labels, -100]


def taken_from_the_list(word_ids, labels):
    aligned, before = [], None
    for word in word_ids:
        aligned.append(-100 if word in (None, before) else labels.pop(0))
        before = word
    return aligned


def compared_by_label(word_ids, labels):
    aligned, before = [], None
    for word in word_ids:
        label = None if word is None else labels[word]
        aligned.append(-100 if label in (None, before) else label)
        before = label
    return aligned


def never_ends(*arguments):
    while True:
        pass


RIGHT = {
    "pad_batch": [padded_by_lists, padded_by_lengths, padded_by_torch],
    "learning_rate_at": [rate_in_two_pieces, rate_as_the_lower_of_two_lines, rate_by_slopes],
    "accumulate": [accumulated_by_shares, accumulated_by_hand, accumulated_after_a_look],
    "evaluate": [evaluated_with_no_grad, evaluated_at_once],
    "choose": [chosen_by_max, chosen_by_a_loop, chosen_by_torch],
    "align_labels": [aligned_by_neighbours, aligned_by_first_places],
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
    "learning_rate_at": [
        (lambda s, n, w, h: h * max(0, n - s) / n, "no warm-up"),
        (both_lines_at_once, "(?s)warm-up of all.*ZeroDivision.*a division by their number"),
        (begins_again, "stay 0"),
        (
            lambda s, n, w, h: h * training.linear_schedule(s, n, w / n),
            "ready-made linear_schedule",
        ),
        (
            lambda s, n, w, h: torch.tensor(rate_as_the_lower_of_two_lines(s, n, w, h)),
            "not a plain number",
        ),
    ],
    "accumulate": [
        (all_at_once, "13 texts at once"),
        (backward_at_the_end, "results of 3 parts are in memory"),
        (keeps_the_graph, "tensor with its graph"),
        (lambda *given: torch.tensor(accumulated_by_shares(*given)), "not a plain number"),
        (never_ends, "did not end"),
    ],
    "evaluate": [
        (measured_as_it_stands, "is in training mode while you measure"),
        (switch_off_for_good, "switched off afterwards"),
        (first_batch_only, "Only the first batch counts"),
        (lambda *given: torch.tensor(evaluated_with_no_grad(*given)), "not a plain number"),
    ],
    "choose": [
        (returns_inside_the_loop, "chose the first"),
        (measures_places, "is no candidate"),
        (looks_twice, "measured 2 times"),
        (lambda *given: chosen_by_max(*given)[0], "two things are asked"),
    ],
    "align_labels": [
        (one_label_for_each_word, "as many as there are words, and two"),
        (compared_by_label, "taken for one word"),
        (taken_from_the_list, "changes a list"),
    ],
}
