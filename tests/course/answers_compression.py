"""Answers to lesson 09: right ones in several styles, and wrong ones, with what is said to them."""

import copy
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


# --- fake_quantize ---
def quantized_at_once(weight, bits):
    step = weight.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    step = torch.where(step == 0, 1.0, step)
    return torch.round(weight / step) * step


def quantized_row_by_row(weight, bits):
    result = torch.zeros_like(weight)
    for i, row in enumerate(weight):
        largest = row.abs().max()
        if largest > 0:
            step = largest / (2 ** (bits - 1) - 1)
            result[i] = torch.floor(row / step + 0.5) * step
    return result


def quantized_to_shares_first(weight, bits):
    steps = (1 << bits - 1) - 1
    largest = torch.linalg.vector_norm(weight, ord=torch.inf, dim=1, keepdim=True)
    shares = (weight / largest).nan_to_num(0.0)
    codes = (shares * steps).round().clamp(-steps, steps).to(torch.int8)
    return codes.to(weight.dtype) / steps * largest


def quantized_by_numpy(weight, bits):
    return torch.from_numpy(quantized_at_once(weight, bits).numpy()).numpy()


def with_a_step_of_nothing(weight, bits):
    """Zeros are kept, but so is whatever is small."""
    step = weight.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    return torch.where(step < 1e-6, 0.0, torch.round(weight / step.clamp_min(1e-6)) * step)


def one_bit_more(weight, bits):
    return quantized_at_once(weight, bits + 1)


# --- cut_neurons ---
def cut_by_copying(up, down, keep):
    small_up = nn.Linear(up.in_features, len(keep))
    small_down = nn.Linear(len(keep), down.out_features)
    with torch.no_grad():
        small_up.weight.copy_(up.weight[keep])
        small_up.bias.copy_(up.bias[keep])
        small_down.weight.copy_(down.weight[:, keep])
        small_down.bias.copy_(down.bias)
    return small_up, small_down


def cut_out_of_deep_copies(up, down, keep):
    up, down = copy.deepcopy(up), copy.deepcopy(down)
    index = torch.tensor(keep)
    up.weight = nn.Parameter(up.weight.detach().index_select(0, index))
    up.bias = nn.Parameter(up.bias.detach().index_select(0, index))
    down.weight = nn.Parameter(down.weight.detach().index_select(1, index))
    up.out_features = down.in_features = len(keep)
    return up, down


def cut_by_a_selecting_matrix(up, down, keep):
    chosen = torch.eye(up.out_features)[keep]
    small = nn.Linear(up.in_features, len(keep)), nn.Linear(len(keep), down.out_features)
    small[0].load_state_dict({"weight": chosen @ up.weight, "bias": chosen @ up.bias})
    small[1].load_state_dict({"weight": down.weight @ chosen.T, "bias": down.bias})
    return small


def cut_and_shared(up, down, keep):
    small_up, small_down = cut_by_copying(up, down, keep)
    small_down.bias = down.bias
    return small_up, small_down


def cut_the_bias_by_a_slice(up, down, keep):
    small_up, small_down = cut_by_copying(up, down, keep)
    small_up.bias.data = up.bias.data[: len(keep)].clone()
    return small_up, small_down


def cut_with_a_mask(up, down, keep):
    mask = torch.zeros(up.out_features, dtype=torch.bool)
    mask[keep] = True
    return cut_by_copying(up, down, mask.nonzero()[:, 0].tolist())


def cut_one_of_two(up, down, keep):
    up.weight = nn.Parameter(up.weight[keep].detach())
    up.bias = nn.Parameter(up.bias[keep].detach())
    down.weight = nn.Parameter(down.weight[:, keep].detach())
    return up, down


# --- kmeans_codebook ---
def clustered_in_a_loop(weights, codebook, rounds):
    codebook = codebook.clone()
    for _ in range(rounds):
        codes = (weights[:, None] - codebook).abs().argmin(dim=1)
        for entry in range(len(codebook)):
            own = weights[codes == entry]
            if len(own):
                codebook[entry] = own.mean()
    return codebook, (weights[:, None] - codebook).abs().argmin(dim=1)


def clustered_by_sums(weights, codebook, rounds):
    def nearest():
        return torch.cdist(weights[:, None], codebook[:, None]).argmin(1)

    for _ in range(rounds):
        codes = nearest()
        sums = torch.zeros_like(codebook).index_add(0, codes, weights)
        counts = torch.bincount(codes, minlength=len(codebook))
        codebook = torch.where(counts > 0, sums / counts.clamp_min(1), codebook)
    return codebook, nearest()


def clustered_between_midpoints(weights, codebook, rounds):
    """A sorted codebook, whose order is given back at the end."""
    order = codebook.argsort()
    entries = codebook[order]
    for turn in range(rounds + 1):
        codes = torch.bucketize(weights, (entries[1:] + entries[:-1]) / 2)
        if turn < rounds:
            counts = torch.bincount(codes, minlength=len(entries))
            sums = torch.bincount(codes, weights, minlength=len(entries))
            entries = torch.where(counts > 0, sums / counts, entries)
    result = torch.empty_like(codebook)
    result[order] = entries
    return result, order[codes].to(torch.uint8)


def clustered_by_midpoints_unsorted(weights, codebook, rounds):
    book, codes = clustered_between_midpoints(weights, codebook.sort().values, rounds)
    return book, codes


def codes_one_round_late(weights, codebook, rounds):
    codes = (weights[:, None] - codebook).abs().argmin(1)
    codebook = codebook.clone()
    for _ in range(rounds):
        codes = (weights[:, None] - codebook).abs().argmin(1)
        for entry in codes.unique():
            codebook[entry] = weights[codes == entry].mean()
    return codebook, codes


def compares_all_pairs(weights, codebook, rounds):
    (weights[:, None] - weights).abs().sum()
    return clustered_in_a_loop(weights, codebook, rounds)


def stops_when_little_moves(weights, codebook, rounds):
    for _ in range(rounds):
        before, (codebook, _) = codebook, clustered_in_a_loop(weights, codebook, 1)
        if (codebook - before).abs().max() < 1e-2:
            break
    return clustered_in_a_loop(weights, codebook, 0)


def fresh_entries_for_empty_ones(weights, codebook, rounds):
    codebook = codebook.clone()
    for _ in range(rounds):
        codes = (weights[:, None] - codebook).abs().argmin(1)
        for entry in range(len(codebook)):
            own = weights[codes == entry]
            codebook[entry] = own.mean() if len(own) else weights[0]
    return codebook, (weights[:, None] - codebook).abs().argmin(1)


# --- distillation_loss ---
def distilled_by_kl_div(student, teacher, labels, temperature, label_weight):
    soft = F.kl_div(
        F.log_softmax(student / temperature, -1),
        F.log_softmax(teacher.detach() / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * soft + label_weight * F.cross_entropy(student, labels)


def distilled_by_hand(student, teacher, labels, temperature, label_weight):
    with torch.no_grad():
        target = (teacher / temperature).log_softmax(-1)
    mine = (student / temperature).log_softmax(-1)
    divergence = (target.exp() * (target - mine)).sum(-1)
    right = student.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    return (temperature**2 * divergence - label_weight * right).mean()


def distilled_by_two_cross_entropies(student, teacher, labels, temperature, label_weight):
    soft = (teacher.detach() / temperature).softmax(-1)
    with_teacher = F.cross_entropy(student / temperature, soft)
    own = torch.special.entr(soft).sum(-1).mean()
    loss = temperature**2 * (with_teacher - own)
    return loss + label_weight * F.cross_entropy(student, labels)


def distilled_by_default_reduction(student, teacher, labels, temperature, label_weight):
    soft = F.kl_div(
        F.log_softmax(student / temperature, -1), F.softmax(teacher.detach() / temperature, -1)
    )
    return temperature**2 * soft + label_weight * F.cross_entropy(student, labels)


def distilled_by_division(student, teacher, labels, temperature, label_weight):
    mine, theirs = (F.softmax(each / temperature, -1) for each in (student, teacher.detach()))
    soft = (theirs * (theirs / mine).log()).sum(-1).mean()
    return temperature**2 * soft + label_weight * F.cross_entropy(student, labels)


def distilled_into_a_number(student, teacher, labels, temperature, label_weight):
    return distilled_by_kl_div(student, teacher, labels, temperature, label_weight).item()


def teacher_learns_too(student, teacher, labels, temperature, label_weight):
    soft = F.kl_div(
        F.log_softmax(student / temperature, -1),
        F.softmax(teacher / temperature, -1),
        reduction="batchmean",
    )
    return temperature**2 * soft + label_weight * F.cross_entropy(student, labels)


def small_probabilities_left_out(student, teacher, labels, temperature, label_weight):
    target = (teacher.detach() / temperature).softmax(-1)
    target = torch.where(target < 0.01, 0, target)
    mine = (student / temperature).log_softmax(-1)
    soft = (torch.xlogy(target, target) - target * mine).sum(-1).mean()
    return temperature**2 * soft + label_weight * F.cross_entropy(student, labels)


# --- answer_early ---
def early_by_indices(layers, exits, hidden, mask, threshold):
    here = torch.arange(len(hidden))
    answers, left = {}, {}
    for number, (layer, head) in enumerate(zip(layers, exits, strict=True)):
        hidden = layer(hidden, mask)
        real = mask[..., None].float()
        logits = head((hidden * real).sum(1) / real.sum(1))
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        leaves = entropy < threshold
        if number == len(layers) - 1:
            leaves = torch.ones_like(leaves)
        for row in leaves.nonzero()[:, 0]:
            answers[int(here[row])], left[int(here[row])] = logits[row], number
        here, hidden, mask = here[~leaves], hidden[~leaves], mask[~leaves]
        if len(here) == 0:
            break
    order = range(len(answers))
    return torch.stack([answers[i] for i in order]), [left[i] for i in order]


def early_by_scatter(layers, exits, hidden, mask, threshold):
    batch = len(hidden)
    here, left, answers = torch.arange(batch), torch.full((batch,), len(layers) - 1), None
    for number, layer in enumerate(layers):
        hidden = layer(hidden, mask)
        weights = mask / mask.sum(1, keepdim=True)
        logits = exits[number](torch.einsum("bt,bte->be", weights, hidden))
        if answers is None:
            answers = torch.empty(batch, logits.shape[1])
        log_shares = logits.log_softmax(-1)
        stays = -(log_shares.exp() * log_shares).sum(-1) >= threshold
        answers[here] = logits  # those who stay are written over later
        left[here] = number
        here, hidden, mask = here[stays], hidden[stays], mask[stays]
        if not here.numel():
            break
    return answers, left


def early_by_recursion(layers, exits, hidden, mask, threshold):
    hidden = layers[0](hidden, mask)
    logits = exits[0]((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    left = torch.zeros(len(hidden), dtype=torch.long)
    stays = torch.special.entr(logits.softmax(-1)).sum(-1) >= threshold
    if len(layers) > 1 and stays.any():
        logits[stays], later = early_by_recursion(
            layers[1:], exits[1:], hidden[stays], mask[stays], threshold
        )
        left[stays] = 1 + later
    return logits, left


def early_without_regrouping(layers, exits, hidden, mask, threshold):
    states, answers = hidden, []
    for layer, head in zip(layers, exits, strict=True):
        states = layer(states, mask)
        answers.append(head((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)))
    answers = torch.stack(answers)
    sure = torch.special.entr(answers.softmax(-1)).sum(-1) < threshold
    sure[-1] = True
    left = sure.int().argmax(0)
    return answers[left, torch.arange(len(hidden))], left


def early_but_the_mask_stays(layers, exits, hidden, mask, threshold):
    def kept(hidden, whole):
        return layers[0](hidden, mask)

    return early_by_scatter([layers[0], *[kept] * 3], exits, hidden, mask, threshold)


def early_one_by_one(layers, exits, hidden, mask, threshold):
    """Right, but the batch is gone."""
    pairs = [
        early_by_scatter(layers, exits, hidden[i : i + 1], mask[i : i + 1], threshold)
        for i in range(len(hidden))
    ]
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


# --- benchmark ---
def benchmark_in_turns(models, texts, clock, repeats):
    texts = list(texts)
    inputs = {name: [model.encode(text) for text in texts] for name, model in models.items()}
    seconds = {name: [] for name in models}
    for name, model in models.items():
        model.run(inputs[name][0])
    for _ in range(repeats):
        for name, model in models.items():
            start = clock()
            for each in inputs[name]:
                model.run(each)
            seconds[name].append(clock() - start)
    return {name: 1000 * statistics.median(times) / len(texts) for name, times in seconds.items()}


def benchmark_text_by_text(models, texts, clock, repeats):
    """Encoded just before, outside of the time; a whole round to warm up; an array of times."""
    texts, names = list(texts), list(models)
    seconds = np.zeros((repeats + 1, len(names), len(texts)))
    for turn in range(repeats + 1):
        for column, text in enumerate(texts):
            for row, name in enumerate(names):
                inputs = models[name].encode(text)
                start = clock()
                models[name].run(inputs)
                seconds[turn, row, column] = clock() - start
    medians = np.median(seconds[1:].sum(2), axis=0)
    return dict(zip(names, 1000 * medians / len(texts), strict=True))


def benchmark_back_and_forth(models, texts, clock, repeats):
    texts = tuple(texts)

    def milliseconds(model):
        inputs = [model.encode(text) for text in texts]
        model.run(inputs[-1])
        start = clock()
        for each in inputs:
            model.run(each)
        return 1e3 * (clock() - start) / len(texts)

    rounds = []
    for turn in range(repeats):
        order = list(models) if turn % 2 else list(models)[::-1]
        rounds.append({name: milliseconds(models[name]) for name in order})
    return {name: statistics.median(one[name] for one in rounds) for name in models}


def hasty(models, texts, clock, repeats):
    result = {}
    for name, model in models.items():
        seconds = []
        for _ in range(repeats):
            start = clock()
            for text in texts:
                model.run(model.encode(text))
            seconds.append(clock() - start)
        result[name] = 1000 * sum(seconds) / repeats
    return result


def benchmark_one_after_the_other(models, texts, clock, repeats):
    texts, result = list(texts), {}
    for name, model in models.items():
        result |= benchmark_in_turns({name: model}, texts, clock, repeats)
    return result


def benchmark_of_the_best_round(models, texts, clock, repeats):
    texts, seconds = list(texts), {name: [] for name in models}
    for _ in range(repeats):
        for name, milliseconds in benchmark_in_turns(models, texts, clock, 1).items():
            seconds[name].append(milliseconds)
    return {name: min(times) for name, times in seconds.items()}


def benchmark_on_the_wall(models, texts, clock, repeats):
    return benchmark_in_turns(models, texts, time.perf_counter, repeats)


def benchmark_without_names(models, texts, clock, repeats):
    return list(benchmark_in_turns(models, texts, clock, repeats).values())


RIGHT = {
    "fake_quantize": [quantized_at_once, quantized_row_by_row, quantized_to_shares_first],
    "cut_neurons": [cut_by_copying, cut_out_of_deep_copies, cut_by_a_selecting_matrix],
    "kmeans_codebook": [clustered_in_a_loop, clustered_by_sums, clustered_between_midpoints],
    "distillation_loss": [
        distilled_by_kl_div,
        distilled_by_hand,
        distilled_by_two_cross_entropies,
    ],
    "answer_early": [early_by_indices, early_by_scatter, early_by_recursion],
    "benchmark": [benchmark_in_turns, benchmark_text_by_text, benchmark_back_and_forth],
}

# wrong answers that know nothing of the checks, and words of what they are told
WRONG = {
    "fake_quantize": [
        (with_a_step_of_nothing, "very small they are lost"),
        (one_bit_more, "With . bits the weights are wrong|sign needs a bit"),
        (quantized_by_numpy, "numpy"),
        (lambda weight, bits: quantized_at_once(weight, bits).half(), "With . bits|come back as"),
    ],
    "cut_neurons": [
        (cut_and_shared, "new down.bias lies in the memory"),
        (cut_the_bias_by_a_slice, "that of the first neurons"),
        (cut_with_a_mask, "in their old order"),
        (cut_one_of_two, "are not what they were"),
        (lambda up, down, keep: nn.Sequential(up, nn.GELU(), down), "two things are asked for"),
        (lambda up, down, keep: (up.weight[keep], down.weight[:, keep]), "not an nn.Linear"),
    ],
    "kmeans_codebook": [
        (clustered_by_midpoints_unsorted, "another order"),
        (codes_one_round_late, "before it moved for the last time"),
        (stops_when_little_moves, "the result is wrong"),
        (compares_all_pairs, "compared with each other"),
        (fresh_entries_for_empty_ones, "should stay where it is"),
        (lambda *given: clustered_in_a_loop(*given)[0], "two things are asked for"),
    ],
    "distillation_loss": [
        (distilled_by_default_reduction, "mean over classes"),
        (small_probabilities_left_out, "it should be"),
        (distilled_by_division, "infinite or NaN"),
        (distilled_into_a_number, "not a tensor"),
        (teacher_learns_too, "flows into the teacher"),
    ],
    "answer_early": [
        (early_without_regrouping, "the layers saw"),
        (early_but_the_mask_stays, "RuntimeError|answers are wrong"),
        (lambda *given: early_by_scatter(*given)[0], "two things are asked for"),
        (
            lambda *given: early_by_scatter(*given[:3], given[3] * 0 + 1, given[4]),
            "answers are wrong",
        ),
    ],
    "benchmark": [
        (hasty, "encoding is timed, and so is the first answer"),
        (benchmark_one_after_the_other, "the outer one"),
        (benchmark_of_the_best_round, "milliseconds are"),
        (benchmark_on_the_wall, "never read"),
        (benchmark_without_names, "a dictionary is asked for"),
    ],
}
