"""Answers to lesson 05: right ones in two styles, and the mistakes people make, each with its diagnosis."""

import itertools

import torch
from torch import nn
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


def padded_to(length):
    """To a length that is not that of the longest row; what is longer is cut."""

    def answer(rows, pad_id):
        width = length(len(row) for row in rows)
        ids = torch.tensor([(row + [pad_id] * width)[:width] for row in rows])
        mask = torch.tensor([([1] * len(row) + [0] * width)[:width] for row in rows])
        return ids, mask

    return answer


def with_ids(change):
    return lambda rows, pad_id: (
        change(padded_by_lists(rows, pad_id)[0]),
        padded_by_lists(rows, pad_id)[1],
    )


def with_mask(change):
    return lambda rows, pad_id: (
        padded_by_lists(rows, pad_id)[0],
        change(*padded_by_lists(rows, pad_id), pad_id),
    )


def padded_on_the_left(rows, pad_id):
    ids, mask = padded_by_lists([row[::-1] for row in rows], pad_id)
    return ids.flip(1), mask.flip(1)


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


def rate(
    up=lambda step, warmup: (step + 1) / warmup,
    down=lambda step, steps, warmup: (steps - step) / max(steps - warmup, 1),
    rising=lambda step, warmup: step < warmup,
):
    """The learning rate with a part exchanged."""

    def answer(step, steps, warmup, highest):
        share = up(step, warmup) if rising(step, warmup) else down(step, steps, warmup)
        return highest * (max(0, share) if step >= steps else share)

    return answer


def goes_on_below_zero(step, steps, warmup, highest):
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * (steps - step) / max(steps - warmup, 1)


def begins_again(step, steps, warmup, highest):
    return rate_in_two_pieces(step % steps, steps, warmup, highest)


def warmup_of_one_at_least(step, steps, warmup, highest):
    return rate_in_two_pieces(step, steps, max(warmup, 1), highest)


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


def accumulating(
    share=lambda part, texts, parts: part / texts,
    before=lambda model: model.zero_grad(),
    between=lambda model: None,
    after=lambda model: None,
    result=lambda losses, sizes: (
        sum(a * b for a, b in zip(losses, sizes, strict=True)) / sum(sizes)
    ),
    number=lambda loss: loss.item(),
):
    """Accumulation with a part exchanged."""

    def answer(model, loss_function, parts):
        sizes, losses = [len(labels) for _, labels in parts], []
        before(model)
        for inputs, labels in parts:
            between(model)
            loss = loss_function(model(inputs), labels)
            (loss * share(len(labels), sum(sizes), len(parts))).backward()
            losses.append(number(loss))
        after(model)
        return result(losses, sizes)

    return answer


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


def stepping(model):
    with torch.no_grad():
        for one in model.parameters():
            one -= 0.1 * one.grad


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


def evaluating(
    before=lambda model: model.eval(),
    after=lambda model, was: model.train(was),
    inside=lambda model: None,
    gradients=torch.no_grad,
    axis=-1,
    result=lambda counts, sizes: sum(counts) / sum(sizes),
):
    """Evaluation with a part exchanged."""

    def answer(model, batches):
        was, counts, sizes = model.training, [], []
        before(model)
        with gradients():
            for inputs, labels in batches:
                counts.append((model(inputs).argmax(axis) == labels).sum().item())
                sizes.append(len(labels))
                inside(model)
        after(model, was)
        return result(counts, sizes)

    return answer


def only_the_flag(model):
    model.training = False


def the_flag_again(model, was):
    model.training = was


def switch_off_for_good(model, batches):
    torch.set_grad_enabled(False)
    return evaluated_with_no_grad(model, batches)


def require_gradients(model, yes):
    for one in model.parameters():
        one.requires_grad = yes


def freezing(thaw):
    def after(model, was):
        model.train(was)
        if thaw:
            require_gradients(model, True)

    return evaluating(
        before=lambda model: (model.eval(), require_gradients(model, False)), after=after
    )


def averaging_the_weights(model, was):
    model.train(was)
    with torch.no_grad():
        for one in model.parameters():
            one *= 0.999


def first_batch_only(model, batches):
    return evaluated_with_no_grad(model, batches[:1])


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


def choosing(by, figure=lambda best, dev, test, all_of_them: test(best)):
    """The candidate for which ``by(candidate, dev, test)`` is highest."""

    def answer(candidates, dev, test):
        best = max(candidates, key=lambda one: by(one, dev, test))
        return best, figure(best, dev, test, candidates)

    return answer


def by_dev(one, dev, test):
    return dev(one)


def looks_at_all(candidates, dev_accuracy, test_accuracy):
    table = [(one, dev_accuracy(one), test_accuracy(one)) for one in candidates]
    best = max(table, key=lambda row: row[1])
    return best[0], best[2]


def looks_twice(candidates, dev_accuracy, test_accuracy):
    best = max(candidates, key=dev_accuracy)
    if test_accuracy(best) < 0.5:
        return None
    return best, test_accuracy(best)


def last_of_equals(candidates, dev_accuracy, test_accuracy):
    best = sorted(candidates, key=dev_accuracy)[-1]
    return best, test_accuracy(best)


def test_breaks_ties(candidates, dev_accuracy, test_accuracy):
    figures = {one: dev_accuracy(one) for one in candidates}
    best = [one for one, figure in figures.items() if figure == max(figures.values())]
    if len(best) == 1:
        return best[0], test_accuracy(best[0])
    return max(((one, test_accuracy(one)) for one in best), key=lambda pair: pair[1])


test_breaks_ties.__test__ = False  # pytest takes it for a test


def returns_inside_the_loop(candidates, dev_accuracy, test_accuracy):
    best = 0.0
    for candidate in candidates:
        if dev_accuracy(candidate) > best:
            return candidate, test_accuracy(candidate)
    return None


def keeps_the_last(candidates, dev_accuracy, test_accuracy):
    for candidate in candidates:
        if dev_accuracy(candidate) > 0:
            best = candidate
    return best, test_accuracy(best)


def returns_the_place(candidates, dev_accuracy, test_accuracy):
    figures = [dev_accuracy(one) for one in candidates]
    place = figures.index(max(figures))
    return place, test_accuracy(candidates[place])


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


def aligning(
    special=-100, later=lambda label: -100, first=True, is_special=lambda word: word is None
):
    """Alignment with a part exchanged."""

    def answer(word_ids, labels):
        aligned = []
        for place, word in enumerate(word_ids):
            neighbour = place - 1 if first else place + 1
            if is_special(word):
                aligned.append(special)
            elif word != word_ids[neighbour]:
                aligned.append(labels[word])
            else:
                aligned.append(later(labels[word]))
        return aligned

    return answer


def one_label_for_each_word(word_ids, labels):
    return [-100, *labels, -100]


def without_special_tokens(word_ids, labels):
    aligned = aligned_by_neighbours(word_ids, labels)
    return [one for word, one in zip(word_ids, aligned, strict=True) if word is not None]


def from_cls_on(word_ids, labels):
    aligned = aligned_by_neighbours(word_ids, labels)
    return aligned[1:] + aligned[:1]


def dealt_out_to_tokens(word_ids, labels):
    left = iter(labels)
    return [-100 if word is None else next(left, -100) for word in word_ids]


def dealt_out_to_words(word_ids, labels):
    aligned, before, left = [], None, iter(labels)
    for word in word_ids:
        aligned.append(-100 if word in (None, before) else next(left))
        before = word
    return aligned


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

WRONG = {
    "pad_batch": [
        (with_mask(lambda ids, mask, pad: torch.ones_like(ids)), "mask is 1 everywhere"),
        (with_mask(lambda ids, mask, pad: (ids != pad).long()), "taken for padding"),
        (with_mask(lambda ids, mask, pad: 1 - mask), "mask is inverted"),
        (with_mask(lambda ids, mask, pad: mask.flip(1)), "zeros at the beginning"),
        (padded_on_the_left, "padding stands before"),
        (padded_to(min), "cut to the length of the shortest"),
        (padded_to(lambda lengths: 5 if max(lengths) == 5 else 32), "32 tokens wide"),
        (lambda rows, pad: padded_by_lists(rows, 0), "padded with 0"),
        (with_ids(lambda ids: ids.float()), "float32"),
        (lambda rows, pad: padded_by_lists(sorted(rows, key=len), pad), "sorted by length"),
        (
            lambda rows, pad: padded_by_lists(sorted(rows, key=len, reverse=True), pad),
            "longest comes first",
        ),
        (padded_in_place, "changes a list"),
        (lambda rows, pad: padded_by_lists(rows, pad)[0], "two things are asked"),
        (lambda rows, pad: [one.numpy() for one in padded_by_lists(rows, pad)], "numpy"),
        (lambda rows, pad: [one.tolist() for one in padded_by_lists(rows, pad)], "not a tensor"),
    ],
    "learning_rate_at": [
        (
            lambda s, n, w, h: h * (s + 1) / w if s < w else h * max(0, n - s) / (n - w),
            "ZeroDivisionError",
        ),
        (rate(up=lambda s, w: s / w), "Step 0 has the rate 0"),
        (rate(up=lambda s, w: (s + 1) / (w + 1)), "ends below the highest"),
        (rate(up=lambda s, w: (s + 1) // w), "0 until its last step"),
        (lambda s, n, w, h: h * max(0, n - s) / n, "no warm-up"),
        (lambda s, n, w, h: rate()(s, n, w, 1.0), "share of the highest"),
        (lambda s, n, w, h: h * training.linear_schedule(s, n, w / n), "ready-made linear_sch"),
        (lambda s, n, w, h: rate()(s, n, w * n, h), "takes too long"),
        (rate(rising=lambda s, w: s <= w), "above the highest"),
        (rate(down=lambda s, n, w: (n - s) / n), "jumps down"),
        (rate(down=lambda s, n, w: (n - 1 - s) / (n - w)), "begins a step early"),
        (rate(down=lambda s, n, w: (n - 1 - s) / (n - 1 - w)), "last step has the rate 0"),
        (rate(down=lambda s, n, w: 1), "never falls"),
        (rate(down=lambda s, n, w: 1 - s / (n - w)), "goes below 0"),
        (rate(down=lambda s, n, w: (s - w) / (n - w)), "rises again"),
        (rate(down=lambda s, n, w: (n - s) // (n - w)), r"After step \d the rate is 0"),
        (rate(rising=lambda s, w: s < w or w == 0), "(?s)warmup=0.*a division by it"),
        (warmup_of_one_at_least, "warm-up of one step"),
        (both_lines_at_once, "(?s)warm-up of all.*ZeroDivision.*a division by their number"),
        (goes_on_below_zero, "climb the loss"),
        (begins_again, "stay 0"),
        (lambda s, n, w, h: torch.tensor(rate()(s, n, w, h)), "not a plain number"),
    ],
    "accumulate": [
        (accumulating(share=lambda part, texts, parts: 1 / parts), "mean of the parts' means"),
        (accumulating(share=lambda part, texts, parts: 1), "three times too large"),
        (accumulating(share=lambda part, texts, parts: part), "sum over the texts"),
        (accumulating(before=lambda model: None), "gradients that were there before"),
        (
            accumulating(between=nn.Module.zero_grad),
            "only its share of them",
        ),
        (
            accumulating(between=nn.Module.zero_grad, share=lambda part, texts, parts: 1),
            "in the gradients: they are cleared",
        ),
        (accumulating(after=nn.Module.zero_grad), "have no gradient afterwards"),
        (accumulating(after=stepping), "weights of the model have changed"),
        (accumulating(number=lambda loss: loss), "tensor with its graph"),
        (accumulating(number=lambda loss: loss.detach()), "not a plain number"),
        (
            accumulating(result=lambda losses, sizes: losses[-1]),
            "you return is the loss of the last part",
        ),
        (
            accumulating(result=lambda losses, sizes: sum(losses) / len(losses)),
            "you return is the mean of the parts",
        ),
        (
            accumulating(result=lambda losses, sizes: sum(losses)),
            "you return is the sum of the parts",
        ),
        (all_at_once, "13 texts at once"),
        (backward_at_the_end, "3 parts wait in memory"),
        (never_ends, "did not end"),
    ],
    "evaluate": [
        (evaluating(before=lambda model: None), "is in training mode while you measure"),
        (evaluating(inside=nn.Module.train), "Only the first batch is measured"),
        (evaluating(before=only_the_flag), "its layers are in training mode"),
        (evaluating(after=lambda model, was: None), "is in eval mode afterwards"),
        (
            evaluating(after=lambda model, was: model.train()),
            "is in training mode afterwards",
        ),
        (evaluating(after=the_flag_again), "its layers are still in eval mode"),
        (
            evaluating(
                result=lambda counts, sizes: (
                    sum(a / b for a, b in zip(counts, sizes, strict=True)) / len(sizes)
                )
            ),
            "average the accuracies",
        ),
        (
            evaluating(result=lambda counts, sizes: counts[-1] / sizes[-1]),
            "Only the last batch counts",
        ),
        (first_batch_only, "Only the first batch counts"),
        (
            evaluating(result=lambda counts, sizes: sum(counts) / sizes[0] / len(sizes)),
            "size of the first batch",
        ),
        (
            evaluating(
                result=lambda counts, sizes: sum(counts) / (len(sizes) if len(sizes) > 1 else 4)
            ),
            "by the number of batches",
        ),
        (evaluating(axis=0), "over the texts"),
        (evaluating(result=lambda counts, sizes: sum(counts)), "count the texts"),
        (evaluating(result=lambda counts, sizes: 100 * sum(counts) / sum(sizes)), "per cent"),
        (
            evaluating(result=lambda counts, sizes: 1 - sum(counts) / sum(sizes)),
            "share of wrong answers",
        ),
        (evaluating(gradients=torch.enable_grad), "builds a graph"),
        (switch_off_for_good, "switched off afterwards"),
        (freezing(thaw=False), "do not require gradients any more"),
        (freezing(thaw=True), "that were frozen before"),
        (evaluating(after=averaging_the_weights), "is another one"),
        (
            evaluating(result=lambda counts, sizes: torch.tensor(sum(counts) / sum(sizes))),
            "not a plain number",
        ),
    ],
    "choose": [
        (choosing(lambda one, dev, test: test(one)), "best on test"),
        (choosing(lambda one, dev, test: dev(one) + test(one)), "dev and test together"),
        (choosing(lambda one, dev, test: -dev(one)), "lowest accuracy"),
        (choosing(lambda one, dev, test: one), "largest candidate"),
        (returns_inside_the_loop, "chose the first"),
        (keeps_the_last, "chose the last candidate"),
        (returns_the_place, "index of the best candidate"),
        (measures_places, "is no candidate"),
        (choosing(by_dev, lambda best, dev, test, others: dev(best)), "is that of dev"),
        (
            choosing(by_dev, lambda best, dev, test, others: max(map(test, others))),
            "highest on test",
        ),
        (looks_at_all, "looked at test for 10"),
        (looks_twice, "measured 2 times"),
        (last_of_equals, "equally good on dev"),
        (test_breaks_ties, "right to choose"),
        (lambda *given: chosen_by_max(*given)[0], "two things are asked"),
        (lambda *given: chosen_by_max(*given)[::-1], "comes second"),
    ],
    "align_labels": [
        (from_cls_on, "begin at \\[CLS\\]"),
        (aligning(later=lambda label: label), "Every piece of a word"),
        (aligning(special=0), "\\[SEP\\] get the label 0"),
        (aligning(special=-1), "get the label -1"),
        (aligning(special=None), "None among the labels"),
        (aligning(later=lambda label: 0), "Later pieces of a word get the label 0"),
        (aligning(first=False), "last piece of a word"),
        (aligning(is_special=lambda word: not word), "first word gets no label"),
        (one_label_for_each_word, "as many as there are words, and two"),
        (without_special_tokens, "special tokens are left out"),
        (dealt_out_to_tokens, "assigned token by token"),
        (dealt_out_to_words, "later window of a long text: it"),
        (taken_from_the_list, "changes a list"),
        (compared_by_label, "taken for one word"),
    ],
}
