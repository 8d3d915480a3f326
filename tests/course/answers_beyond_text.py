"""Answers to lesson 10: right ones in several styles, and wrong ones, with what is said to them."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al
from attnlab.statistics import paired_bootstrap
from attnlab.vision import patchify as ready_made_patchify  # here, as importing takes seconds
from attnlab.vision.boxes import giou as ready_made_giou
from attnlab.vision.boxes import iou as ready_made_iou
from attnlab.vision.retrieval import contrastive_loss as ready_made_contrastive_loss


# --- patchify ---
def patches_at_once(images, patch):
    batch, channels, height, width = images.shape
    cells = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def patches_by_unfold(images, patch):
    return F.unfold(images, patch, stride=patch).mT


def patches_by_split(images, patch):
    rows = torch.stack(images.split(patch, -2), 1)  # (B, rows, C, patch, W)
    cells = torch.stack(rows.split(patch, -1), 2)  # (B, rows, columns, C, patch, patch)
    return cells.flatten(3).flatten(1, 2)


def patches_by_view_and_transpose(images, patch):
    batch, channels, height, width = images.shape
    x = images.contiguous().view(batch, channels, height // patch, patch, width)
    x = x.transpose(1, 2)  # (B, rows, C, patch, W)
    x = x.unflatten(-1, (width // patch, patch)).permute(0, 1, 4, 2, 3, 5)
    return torch.flatten(torch.flatten(x, 3), 1, 2)


def patches_by_a_kernel_of_ones_and_zeros(images, patch):
    channels = images.shape[1]
    kernel = torch.eye(channels * patch * patch).reshape(-1, channels, patch, patch)
    return F.conv2d(images, kernel, stride=patch).flatten(2).mT


def patches_picture_by_picture(images, patch):
    return torch.cat([patches_at_once(image[None], patch) for image in images])


def patches_of_square_pictures(images, patch):
    batch, channels, side, _ = images.shape
    count = side // patch
    cells = images.reshape(batch, channels, count, patch, count, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def patches_of_grey_pictures(images, patch):
    return patches_at_once(images[:, :1], patch)


def patches_without_gradients(images, patch):
    return torch.tensor(patches_at_once(images, patch).tolist())


def patches_by_index(images, patch):
    """A loop over patches, with assignments."""
    batch, channels, height, width = images.shape
    columns = width // patch
    result = torch.zeros(batch, (height // patch) * columns, channels * patch * patch)
    for index in range(result.shape[1]):
        y, x = (index // columns) * patch, (index % columns) * patch
        result[:, index] = images[:, :, y : y + patch, x : x + patch].reshape(batch, -1)
    return result


# --- positions_2d ---
def positions_by_halves(rows, columns, width):
    half = width // 2
    rates = 10000.0 ** (-torch.arange(0, half, 2) / half)

    def along(count):
        angles = torch.arange(count)[:, None] * rates
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    of_row = along(rows).repeat_interleave(columns, 0)
    return torch.cat([of_row, along(columns).repeat(rows, 1)], -1)


def positions_by_loops(rows, columns, width):
    table = torch.zeros(rows * columns, width)
    half = width // 2
    for patch in range(rows * columns):
        for offset, position in ((0, patch // columns), (half, patch % columns)):
            for i in range(half // 2):
                angle = position / 10000 ** (2 * i / half)
                table[patch, offset + 2 * i] = math.sin(angle)
                table[patch, offset + 2 * i + 1] = math.cos(angle)
    return table


def positions_in_numpy(rows, columns, width):
    """Without gradients to lose, an array will do."""
    half = width // 2
    row, column = np.mgrid[:rows, :columns].reshape(2, -1)
    angles = np.stack([row, column], 1)[:, :, None] / 10000 ** (np.arange(0, half, 2) / half)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(-1, width)


def positions_in_quarters(rows, columns, width):
    """Sine and cosine of rows, then of columns, each in a block of its own."""
    table = positions_by_halves(rows, columns, width)
    return torch.cat([table[:, 0::2], table[:, 1::2]], -1)


def positions_up_to_64(rows, columns, width):
    table = positions_by_halves(64, 64, width).reshape(64, 64, width)
    return table[torch.arange(rows) % 64][:, torch.arange(columns) % 64].flatten(0, 1)


# --- giou ---
def giou_by_corners(boxes, targets):
    a, b = (torch.cat([x[:, :2], x[:, :2] + x[:, 2:]], 1) for x in (boxes, targets))
    low, high = torch.max(a[:, :2], b[:, :2]), torch.min(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = boxes[:, 2:].prod(1) + targets[:, 2:].prod(1) - shared
    low, high = torch.min(a[:, :2], b[:, :2]), torch.max(a[:, 2:], b[:, 2:])
    around = (high - low).prod(1)
    return shared / union.clamp(min=1e-12) - (around - union) / around.clamp(min=1e-12)


def giou_side_by_side(boxes, targets):
    x, y, w, h = boxes.unbind(-1)
    u, v, p, q = targets.unbind(-1)
    across = F.relu(torch.minimum(x + w, u + p) - torch.maximum(x, u))
    down = F.relu(torch.minimum(y + h, v + q) - torch.maximum(y, v))
    shared, areas = across * down, w * h + p * q
    union = areas - shared
    around = (torch.maximum(x + w, u + p) - torch.minimum(x, u)) * (
        torch.maximum(y + h, v + q) - torch.minimum(y, v)
    )
    safe = torch.where(union > 0, union, torch.ones_like(union))
    hull = torch.where(around > 0, around, torch.ones_like(around))
    return shared / safe - 1 + torch.where(around > 0, union / hull, torch.ones_like(hull))


def giou_pair_by_pair(boxes, targets):
    values = []
    for a, b in zip(boxes, targets, strict=True):
        ends = torch.minimum(a[:2] + a[2:], b[:2] + b[2:])
        shared = (ends - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
        union = a[2:].prod() + b[2:].prod() - shared
        hull = torch.maximum(a[:2] + a[2:], b[:2] + b[2:]) - torch.minimum(a[:2], b[:2])
        around = hull.prod()
        values.append(shared / (union + 1e-12) - (around - union) / (around + 1e-12))
    return torch.stack(values)


def giou_with_a_small_number_added(boxes, targets):
    ends = boxes[:, :2] + boxes[:, 2:], targets[:, :2] + targets[:, 2:]
    shared = torch.min(*ends) - torch.max(boxes[:, :2], targets[:, :2])
    shared = shared.clamp(min=0).prod(1)
    union = boxes[:, 2:].prod(1) + targets[:, 2:].prod(1) - shared
    around = (torch.max(*ends) - torch.min(boxes[:, :2], targets[:, :2])).prod(1)
    return shared / (union + 1e-7) - (around - union) / (around + 1e-7)


def giou_mended_afterwards(boxes, targets):
    ends = boxes[:, :2] + boxes[:, 2:], targets[:, :2] + targets[:, 2:]
    shared = torch.min(*ends) - torch.max(boxes[:, :2], targets[:, :2])
    shared = shared.clamp(min=0).prod(1)
    union = boxes[:, 2:].prod(1) + targets[:, 2:].prod(1) - shared
    around = (torch.max(*ends) - torch.min(boxes[:, :2], targets[:, :2])).prod(1)
    return torch.nan_to_num(shared / union) - torch.nan_to_num(1 - union / around)


def giou_of_several_pairs_only(boxes, targets):
    return giou_by_corners(boxes, targets).squeeze()


def giou_in_pixels(boxes, targets):
    """A pixel more on each side, as some old code has it."""
    more = torch.tensor([0.0, 0, 1, 1])
    return giou_by_corners(boxes + more, targets + more)


def giou_detached(boxes, targets):
    return giou_by_corners(boxes, targets) * giou_by_corners(boxes, targets).detach().sign().abs()


def giou_with_detached_iou(boxes, targets):
    return giou_by_corners(boxes.detach(), targets)


def giou_of_distances(boxes, targets):
    """DIoU: the distance of the middles in place of the empty share."""
    middles = (boxes[:, :2] + boxes[:, 2:] / 2) - (targets[:, :2] + targets[:, 2:] / 2)
    ends = torch.max(boxes[:, :2] + boxes[:, 2:], targets[:, :2] + targets[:, 2:])
    diagonal = (ends - torch.min(boxes[:, :2], targets[:, :2])).square().sum(1)
    return ready_made_iou(boxes, targets) - middles.square().sum(1) / diagonal


# --- cross_attend ---
def cross_by_split(words, patches, w_q, w_k, w_v, w_o, heads):
    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    q, k, v = split(words @ w_q), split(patches @ w_k), split(patches @ w_v)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2) @ w_o, weights


def cross_by_einsum(words, patches, w_q, w_k, w_v, w_o, heads):
    width = w_q.shape[0] // heads
    q, k, v = (
        torch.einsum("bte,ehd->bhtd", x, w.reshape(-1, heads, width))
        for x, w in ((words, w_q), (patches, w_k), (patches, w_v))
    )
    weights = torch.softmax(torch.einsum("bhtd,bhnd->bhtn", q, k) * width**-0.5, dim=-1)
    mixed = torch.einsum("bhtn,bhnd->bthd", weights, v)
    return [torch.einsum("bthd,hde->bte", mixed, w_o.reshape(heads, width, -1)), weights]


def cross_head_by_head(words, patches, w_q, w_k, w_v, w_o, heads):
    mixtures, tables = [], []
    for q, k, v in zip(
        (words @ w_q).chunk(heads, -1),
        (patches @ w_k).chunk(heads, -1),
        (patches @ w_v).chunk(heads, -1),
        strict=True,
    ):
        tables.append(F.softmax(q.bmm(k.mT) / q.size(-1) ** 0.5, -1))
        mixtures.append(tables[-1].bmm(v))
    return torch.cat(mixtures, -1) @ w_o, torch.stack(tables, 1)


def cross_by_linear_layers(words, patches, w_q, w_k, w_v, w_o, heads):
    batch, count, width = words.shape
    head = width // heads
    query = F.linear(words, w_q.T).view(batch, count, heads, head).permute(0, 2, 1, 3)
    key = F.linear(patches, w_k.T).view(batch, -1, heads, head).permute(0, 2, 3, 1)
    value = F.linear(patches, w_v.T).view(batch, -1, heads, head).permute(0, 2, 1, 3)
    weights = F.softmax(torch.matmul(query / head**0.5, key), dim=-1)
    mixed = torch.matmul(weights, value).transpose(1, 2).contiguous().view(batch, count, width)
    return F.linear(mixed, w_o.T), weights


def cross_ready_made(words, patches, w_q, w_k, w_v, w_o, heads):
    _, weights = cross_by_split(words, patches, w_q, w_k, w_v, w_o, heads)
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2)
        for x in (words @ w_q, patches @ w_k, patches @ w_v)
    )
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).flatten(2) @ w_o, weights


def cross_with_a_residual(words, patches, *rest):
    mixed, weights = cross_by_split(words, patches, *rest)
    return words + mixed, weights


def cross_with_a_causal_mask(words, patches, w_q, w_k, w_v, w_o, heads):
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2)
        for x in (words @ w_q, patches @ w_k, patches @ w_v)
    )
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2) @ w_o, weights


def cross_detached_keys(words, patches, w_q, w_k, w_v, w_o, heads):
    return cross_by_split(words, patches, w_q, w_k.detach(), w_v, w_o, heads)


def cross_of_new_layers(words, patches, w_q, w_k, w_v, w_o, heads):
    """Linear layers that are made anew at every call never train."""
    width = words.shape[-1]
    layers = [nn.Linear(width, width) for _ in range(4)]
    return cross_by_split(words, patches, *(layer.weight for layer in layers), heads)


# --- contrastive ---
def contrastive_by_cross_entropy(images, texts, log_temperature):
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    logits = images @ texts.T / log_temperature.exp()
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def contrastive_by_log_softmax(images, texts, log_temperature):
    images = images / images.norm(dim=1, keepdim=True)
    texts = texts / texts.norm(dim=1, keepdim=True)
    logits = torch.exp(-log_temperature) * torch.einsum("ie,je->ij", images, texts)
    across, back = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    return -0.5 * (across.mean() + back.mean())


def contrastive_by_cosines(images, texts, log_temperature):
    alike = F.cosine_similarity(images[:, None], texts[None], dim=-1)
    logits = alike / torch.exp(log_temperature)
    mine = torch.diag(logits)
    return (logits.logsumexp(0) + logits.logsumexp(1) - 2 * mine).sum() / (2 * len(logits))


def contrastive_in_one_cross_entropy(images, texts, log_temperature):
    logits = F.normalize(images) @ F.normalize(texts).T / log_temperature.exp()
    return F.cross_entropy(torch.cat([logits, logits.T]), torch.arange(len(logits)).repeat(2))


def contrastive_by_distances(images, texts, log_temperature):
    """For vectors of length 1 half the squared distance is 1 - similarity."""
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    logits = -(images[:, None] - texts).square().sum(-1) / 2 / log_temperature.exp()
    own = torch.eye(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def contrastive_with_smoothing(images, texts, log_temperature):
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    logits = images @ texts.T / log_temperature.exp()
    own = torch.arange(len(logits))
    losses = [F.cross_entropy(table, own, label_smoothing=0.1) for table in (logits, logits.T)]
    return sum(losses) / 2


def contrastive_detached(images, texts, log_temperature):
    return contrastive_by_cross_entropy(images, texts.detach(), log_temperature)


# --- modality_experiment ---
def experiment_by_permutation(answer, images, questions, labels, seed=0):
    labels = np.asarray(labels)
    right = np.asarray(answer(images, questions)) == labels
    order = np.random.default_rng(seed).permutation(len(labels))
    inputs = {
        "image": (images[order], questions),
        "question": (images, [questions[row] for row in order]),
    }
    found = {}
    for name, given in inputs.items():
        change = right.astype(float) - (np.asarray(answer(*given)) == labels)
        found[name] = (change.mean(), *paired_bootstrap(change))
    return found


def experiment_with_normal_intervals(answer, images, questions, labels, seed=0):
    """One permutation for each, and a t-like interval of the paired difference."""
    generator = np.random.default_rng(seed)
    result, truth = {}, torch.as_tensor(labels)
    before = torch.as_tensor(answer(images, questions)) == truth
    for name in ("image", "question"):
        rows = generator.permutation(len(truth))
        after = (
            answer(images[rows], questions)
            if name == "image"
            else answer(images, np.array(questions)[rows].tolist())
        )
        gap = before.double() - (torch.as_tensor(after) == truth).double()
        error = 1.96 * gap.std() / len(gap) ** 0.5
        result[name] = [gap.mean(), gap.mean() - error, gap.mean() + error]
    return result


def experiment_with_own_bootstrap(answer, images, questions, labels, seed=0):
    labels, generator = np.array(labels), np.random.default_rng(seed)
    base = np.equal(answer(images, questions), labels).astype(int)

    def judged(given):
        gap = base - np.equal(answer(*given), labels).astype(int)
        rows = generator.integers(0, len(gap), (1000, len(gap)))
        low, high = np.percentile(gap[rows].mean(1), [2.5, 97.5])
        drop = float(gap.mean())
        return drop, min(low, drop), max(high, drop)

    order = generator.permutation(len(labels))
    return {
        "question": judged((images, [questions[i] for i in order])),
        "image": judged((images[order], questions)),
    }


def experiment_of_ten_permutations(answer, images, questions, labels, seed=0):
    generator, labels = np.random.default_rng(seed), np.asarray(labels)
    before, found = answer(images, questions) == labels, {}
    for name in ("image", "question"):
        changes = []
        for _ in range(10):
            order = generator.permutation(len(labels))
            shuffled = (
                (images[order], questions)
                if name == "image"
                else (images, np.array(questions)[order])
            )
            changes.append(before.astype(float) - (answer(*shuffled) == labels))
        change = np.mean(changes, 0)
        found[name] = np.array([change.mean(), *paired_bootstrap(change)])
    return found


def experiment_that_knows_no_gain(answer, images, questions, labels, seed=0):
    found = experiment_by_permutation(answer, images, questions, labels, seed)
    return {name: (max(drop, 0.0), low, high) for name, (drop, low, high) in found.items()}


def experiment_of_99_percent(answer, images, questions, labels, seed=0):
    found = experiment_with_normal_intervals(answer, images, questions, labels, seed)
    return {
        name: (drop, drop + 1.31 * (low - drop), drop + 1.31 * (high - drop))
        for name, (drop, low, high) in found.items()
    }


def experiment_that_shuffles_questions_in_place(answer, images, questions, labels, seed=0):
    np.random.default_rng(seed).shuffle(questions)
    return experiment_by_permutation(answer, images, questions, labels, seed)


def experiment_in_batches(answer, images, questions, labels, seed=0):
    found = {}
    for name in ("image", "question"):
        gaps = []
        for start in range(0, len(labels), 8):
            some, asked = images[start : start + 8], questions[start : start + 8]
            before = np.asarray(answer(some, asked))
            turned = (some[::-1], asked) if name == "image" else (some, asked[::-1])
            gaps += [(before == labels[start : start + 8]).mean(), np.mean(answer(*turned))]
        found[name] = (np.mean(gaps), 0, 1)
    return found


def experiment_of_attention(answer, images, questions, labels, seed=0):
    """Weights sum to 1, so it says half and half."""
    return {"image": (0.5, 0.4, 0.6), "question": (0.5, 0.4, 0.6)}


def experiment_on_one_modality(answer, images, questions, labels, seed=0):
    return {"image": experiment_by_permutation(answer, images, questions, labels, seed)["image"]}


def experiment_without_intervals(answer, images, questions, labels, seed=0):
    found = experiment_by_permutation(answer, images, questions, labels, seed)
    return {name: values[0] for name, values in found.items()}


def experiment_with_shuffled_labels(answer, images, questions, labels, seed=0):
    labels = np.asarray(labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    found = np.asarray(answer(images, questions))
    change = (found == labels).astype(float) - (found == labels[order])
    return dict.fromkeys(("image", "question"), (change.mean(), *paired_bootstrap(change)))


def experiment_relative(answer, images, questions, labels, seed=0):
    before = np.mean(np.asarray(answer(images, questions)) == np.asarray(labels))
    found = experiment_by_permutation(answer, images, questions, labels, seed)
    return {name: tuple(value / before for value in values) for name, values in found.items()}


RIGHT = {
    "patchify": [
        patches_at_once,
        patches_by_view_and_transpose,
        patches_by_unfold,
        patches_by_split,
        patches_by_a_kernel_of_ones_and_zeros,
    ],
    "positions_2d": [positions_by_halves, positions_by_loops, positions_in_numpy],
    "giou": [
        giou_by_corners,
        giou_side_by_side,
        giou_pair_by_pair,
        giou_with_a_small_number_added,
        giou_mended_afterwards,
    ],
    "cross_attend": [
        cross_by_split,
        cross_by_einsum,
        cross_head_by_head,
        cross_by_linear_layers,
    ],
    "contrastive": [
        contrastive_by_cross_entropy,
        contrastive_by_log_softmax,
        contrastive_by_cosines,
        contrastive_in_one_cross_entropy,
        contrastive_by_distances,
    ],
    "modality_experiment": [
        experiment_by_permutation,
        experiment_with_normal_intervals,
        experiment_with_own_bootstrap,
        experiment_of_ten_permutations,
    ],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "patchify": [
        (patches_of_square_pictures, "RuntimeError"),
        (patches_of_grey_pictures, r"Expected shape"),
        (patches_without_gradients, "No gradient"),
        (patches_by_index, "there is a loop"),
        (patches_picture_by_picture, "there is a loop"),
        (lambda images, patch: ready_made_patchify(images, patch), "ready-made patchify"),
        (lambda images, patch: patches_at_once(images, patch)[:, :-1], "Expected shape"),
    ],
    "positions_2d": [
        (positions_in_quarters, "All sines come first"),
        (positions_up_to_64, "a largest number typed in"),
        (lambda r, c, w: al.attention.sinusoidal_positions_2d(r, c, w), "ready-made"),
        (lambda r, c, w: positions_by_halves(c, r, w), "How many patches stand in a row"),
        (lambda r, c, w: torch.zeros(r * c, w), "Some positions are wrong"),
    ],
    "giou": [
        (giou_in_pixels, "the GIoU is"),
        (giou_of_several_pairs_only, r"a single pair.*\n.*it is \(\)"),
        (giou_with_detached_iou, "`boxes` gets no gradient"),
        (giou_of_distances, "ready-made iou"),
        (lambda a, b: ready_made_giou(a, b), "ready-made giou"),
        (lambda a, b: torch.tensor(giou_by_corners(a, b).tolist()), "No gradient"),
    ],
    "cross_attend": [
        (cross_ready_made, "ready-made scaled_dot_product_attention"),
        (cross_with_a_residual, "a residual connection"),
        (cross_with_a_causal_mask, "as with a causal mask"),
        (cross_detached_keys, "`w_k` gets no gradient"),
        (cross_of_new_layers, "wrong"),
        (lambda *given: cross_by_split(*given)[0], "two"),
    ],
    "contrastive": [
        (contrastive_with_smoothing, "The loss is"),
        (contrastive_detached, "`texts` gets no gradient"),
        (
            lambda i, t, log: ready_made_contrastive_loss(
                F.normalize(i, dim=-1), F.normalize(t, dim=-1), log.exp()
            ),
            "ready-made contrastive_loss",
        ),
        (lambda i, t, log: contrastive_by_cross_entropy(i, t, log).item(), "not a tensor"),
    ],
    "modality_experiment": [
        (experiment_in_batches, "8 of 240 examples"),
        (experiment_of_attention, "never asked with everything as it is"),
        (experiment_on_one_modality, "the keys"),
        (experiment_without_intervals, "list|numbers"),
        (experiment_with_shuffled_labels, "never asked"),
        (experiment_that_knows_no_gain, r"(?s)mislead.*the drop is [+-]0\.000"),
        (experiment_of_99_percent, r"1\.\d\d times as wide as 95 % intervals"),
        (experiment_that_shuffles_questions_in_place, "changes a list"),
        (experiment_relative, "share of the accuracy before"),
    ],
}
