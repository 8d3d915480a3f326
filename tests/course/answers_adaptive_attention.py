"""Answers to lesson 11: right ones in several styles, and wrong ones, with what is said to them."""

import asyncio
import bisect
import collections
import math

import numpy as np
import torch
from torch.nn import functional as F

from attnlab.attention import local_mask
from attnlab.attention import scaled_dot_product_attention as ready_made_attention


# --- window_attention ---
def window_in_blocks(query, key, value, window):
    length, width = query.shape[-2:]
    blocks = -(-length // window)
    more = blocks * window - length
    queries = F.pad(query, (0, 0, 0, more)).unflatten(-2, (blocks, window))
    keys, values = (
        F.pad(x, (0, 0, window, window + more)).unfold(-2, 3 * window, window).transpose(-2, -1)
        for x in (key, value)
    )
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(width)
    mine, theirs = torch.arange(window), torch.arange(3 * window) - window
    place = torch.arange(blocks)[:, None] * window + theirs
    near = (theirs - mine[:, None]).abs() <= window
    real = (place >= 0) & (place < length)
    scores = scores.masked_fill(~(near & real[:, None]), -torch.inf)
    return (scores.softmax(-1) @ values).flatten(-3, -2)[..., :length, :]


def window_by_unfolding(query, key, value, window):
    """All 2w + 1 neighbours of each query, side by side."""
    length, span = query.shape[2], 2 * window + 1
    keys = F.pad(key, (0, 0, window, window)).unfold(2, span, 1)
    values = F.pad(value, (0, 0, window, window)).unfold(2, span, 1)
    scores = torch.einsum("bhtd,bhtdk->bhtk", query, keys) * query.shape[-1] ** -0.5
    place = torch.arange(length)[:, None] + torch.arange(span) - window
    scores = scores.masked_fill((place < 0) | (place >= length), float("-inf"))
    return torch.einsum("bhtk,bhtdk->bhtd", scores.softmax(-1), values)


def window_by_distances(query, key, value, window):
    """A loop over distances; the softmax by hand."""
    length = query.shape[2]
    root = query.shape[-1] ** 0.5
    rows, places = [], torch.arange(length)
    keys = F.pad(key, (0, 0, window, window))
    values = F.pad(value, (0, 0, window, window))
    for distance in range(-window, window + 1):
        start = distance + window
        score = (query * keys[:, :, start : start + length]).sum(-1) / root
        outside = (places + distance < 0) | (places + distance >= length)
        rows.append(score.masked_fill(outside, -math.inf))
    weights = torch.stack(rows).softmax(0)
    return sum(
        weight[..., None] * values[:, :, start : start + length]
        for start, weight in enumerate(weights)
    )


def window_block_by_block(query, key, value, window):
    """A loop over blocks, with the keys cut out before the product."""
    length, found = query.size(-2), []
    for start in range(0, length, 2 * window):
        stop = min(start + 2 * window, length)
        low, high = max(start - window, 0), min(stop + window, length)
        scores = query[..., start:stop, :] @ key[..., low:high, :].mT / query.size(-1) ** 0.5
        far = (torch.arange(low, high) - torch.arange(start, stop)[:, None]).abs() > window
        scores = scores + torch.zeros(far.shape).masked_fill(far, -1e9)
        found.append(torch.softmax(scores, -1) @ value[..., low:high, :])
    return torch.cat(found, -2)


def window_by_gathering(query, key, value, window):
    length = query.shape[-2]
    place = torch.arange(length)[:, None] + torch.arange(-window, window + 1)
    real = (place >= 0) & (place < length)
    place = place.clamp(0, length - 1)
    scores = (query.unsqueeze(-2) * key[:, :, place]).sum(-1) / math.sqrt(query.shape[-1])
    powers = torch.exp(scores - scores.amax(-1, keepdim=True)) * real
    weights = powers / powers.sum(-1, keepdim=True)
    return (weights.unsqueeze(-1) * value[:, :, place]).sum(-2)


def window_in_two_passes(query, key, value, window):
    """A loop over distances for the largest score, and one for the sums."""
    length, width = query.shape[-2:]
    keys, values = (F.pad(x, (0, 0, window, window)) for x in (key, value))
    places = torch.arange(length)

    def score(start):
        place = places + start - window
        score = (query * keys[:, :, start : start + length]).sum(-1) / math.sqrt(width)
        return score.masked_fill((place < 0) | (place >= length), -torch.inf)

    largest = torch.full(query.shape[:3], -torch.inf)
    for start in range(2 * window + 1):
        largest = torch.maximum(largest, score(start))
    total, mixed = 0, 0
    for start in range(2 * window + 1):
        power = (score(start) - largest).exp()
        total = total + power
        mixed = mixed + power[..., None] * values[:, :, start : start + length]
    return mixed / total[..., None]


def window_of_whole_blocks_only(query, key, value, window):
    return window_in_blocks(query, key, value, window).unflatten(-2, (-1, window)).flatten(-3, -2)


def window_with_local_mask(query, key, value, window):
    hidden = ~local_mask(query.shape[2], window)
    scores = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(hidden, -torch.inf)
    return scores.softmax(-1) @ value


def window_ready_made(query, key, value, window):
    return ready_made_attention(query, key, value)[0]


def window_of_detached_keys(query, key, value, window):
    return window_in_blocks(query, key.detach(), value, window)


# --- straight_through ---
def straight_by_detaching(scores, values):
    soft = scores.softmax(-1) @ values
    best = scores.argmax(-1, keepdim=True).expand(-1, -1, values.shape[-1])
    return soft + (values.gather(1, best) - soft).detach()


def straight_the_other_way(scores, values):
    soft = torch.bmm(torch.softmax(scores, 2), values)
    hard = F.one_hot(scores.argmax(-1), scores.shape[-1]).to(values.dtype) @ values
    return hard.detach() + soft - soft.detach()


def straight_without_gradients_of_the_hard(scores, values):
    soft = torch.einsum("bqk,bkd->bqd", torch.softmax(scores, -1), values)
    with torch.no_grad():
        rows = torch.arange(len(values))[:, None]
        gap = values[rows, scores.max(-1).indices] - soft
    return soft + gap


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, values):
        ctx.save_for_backward(scores.softmax(-1), values)
        return torch.stack([v[s.argmax(-1)] for s, v in zip(scores, values, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        weights, values = ctx.saved_tensors
        inner = gradient @ values.mT
        inner = weights * (inner - (weights * inner).sum(-1, keepdim=True))
        return inner, weights.mT @ gradient


def straight_by_a_function(scores, values):
    return Straight.apply(scores, values)


def straight_by_a_hook(scores, values):
    """The values as they would be, replaced in place of data."""
    soft = scores.softmax(-1) @ values
    hard = torch.stack([v[s.argmax(-1)] for s, v in zip(scores.data, values.data, strict=True)])
    result = soft * 1
    result.data = hard
    return result


def straight_by_sampling(scores, values):
    """Gumbel noise: another key now and then."""
    noisy = scores - torch.log(-torch.log(torch.rand_like(scores)))
    return straight_by_detaching(noisy, values)


def straight_on_weights(scores, values):
    weights = scores.softmax(-1)
    hard = F.one_hot(scores.argmax(-1), scores.shape[-1]).to(weights)
    return (hard - weights.detach() + weights) @ values


def straight_with_a_sharp_softmax(scores, values):
    """Nearly hard, forward; hardly any gradient."""
    return (1000 * scores).softmax(-1) @ values


# --- drop_tokens ---
def drop_text_by_text(hidden, lengths, importance, keep):
    rows, counts, start = [], [], 0
    for length in lengths.tolist():
        count = math.ceil(keep * length)
        own = importance[start : start + length].clone()
        own[0] = torch.inf
        best = own.sort(descending=True, stable=True).indices[:count]
        rows.append(start + best.sort().values)
        counts.append(count)
        start += length
    return hidden[torch.cat(rows)], torch.tensor(counts)


def drop_at_once(hidden, lengths, importance, keep):
    """Without a loop: two stable sorts, by importance, then by text."""
    texts = torch.arange(len(lengths)).repeat_interleave(lengths)
    starts = lengths.cumsum(0) - lengths
    own = importance.index_fill(0, starts, torch.inf)
    order = own.argsort(descending=True, stable=True)
    order = order[texts[order].argsort(stable=True)]
    counts = torch.ceil(keep * lengths).long()
    rank = torch.arange(len(hidden)) - starts[texts]
    stay = order[rank < counts[texts]].sort().values
    return hidden.index_select(0, stay), counts


def drop_by_lists(hidden, lengths, importance, keep):
    parts, counts = [], []
    pairs = zip(hidden.split(lengths.tolist()), importance.split(lengths.tolist()), strict=True)
    for vectors, own in pairs:
        count = -int(-(len(vectors) * keep) // 1)
        ranked = sorted(range(1, len(vectors)), key=lambda place, own=own: -own[place].item())
        parts.append(vectors[sorted([0, *ranked[: count - 1]])])
        counts.append(count)
    return torch.cat(parts), torch.tensor(counts, dtype=lengths.dtype)


def drop_by_numpy(hidden, lengths, importance, keep):
    mask, start = np.zeros(len(hidden), dtype=bool), 0
    own, counts = importance.numpy(), []
    for length in lengths.numpy():
        some = own[start : start + length].copy()
        some[0] = some.max() + 1
        best = np.argsort(-some, kind="stable")[: int(np.ceil(keep * length))]
        mask[start + best] = True
        counts.append(len(best))
        start += length
    return hidden[torch.from_numpy(mask)], torch.tensor(counts)


def drop_by_a_sort_turned_over(hidden, lengths, importance, keep):
    """Sorted upwards, and read from the end: the later of equals comes first."""
    rows, counts, start = [], [], 0
    for length in lengths.tolist():
        count = math.ceil(keep * length)
        own = importance[start : start + length].clone()
        own[0] = torch.inf
        best = own.sort(stable=True).indices.flip(0)[:count]
        rows.append(start + best.sort().values)
        counts.append(count)
        start += length
    return hidden[torch.cat(rows)], torch.tensor(counts)


def drop_with_a_large_first(hidden, lengths, importance, keep):
    own = importance.clone()
    own[lengths.cumsum(0) - lengths] = 10.0
    rows, counts, start = [], [], 0
    for length in lengths.tolist():
        count = math.ceil(keep * length)
        best = own[start : start + length].sort(descending=True, stable=True).indices[:count]
        rows.append(start + best.sort().values)
        counts.append(count)
        start += length
    return hidden[torch.cat(rows)], torch.tensor(counts)


def drop_in_place(hidden, lengths, importance, keep):
    importance[lengths.cumsum(0) - lengths] = torch.inf
    return drop_text_by_text(hidden, lengths, importance, keep)


# --- StreamingQuantile ---
class SketchOfBuckets:
    """A dictionary of logarithmic buckets."""

    def __init__(self, error=0.05):
        self.growth = (1 + error) / (1 - error)
        self.counts, self.total = collections.defaultdict(int), 0

    def add(self, value):
        self.counts[math.ceil(math.log(value, self.growth))] += 1
        self.total += 1

    def quantile(self, q):
        below = 0
        for bucket in sorted(self.counts):
            below += self.counts[bucket]
            if below > q * (self.total - 1):
                return 2 * self.growth**bucket / (self.growth + 1)
        return float("nan")


class SketchOfAnArray:
    """A fixed array of finer buckets; nearest rank."""

    def __init__(self, error=0.05):
        self.step = math.log1p(error)
        self.low = math.log(0.01)
        buckets = int((math.log(1e5) - self.low) / self.step) + 2
        self.counts = np.zeros(buckets, dtype=np.int64)

    def add(self, value):
        self.counts[int((math.log(value) - self.low) / self.step)] += 1

    def quantile(self, q):
        count = self.counts.sum()
        if count == 0:
            return math.nan
        rank = max(math.ceil(q * count), 1)
        bucket = int(np.searchsorted(self.counts.cumsum(), rank))
        return math.exp(self.low + (bucket + 0.5) * self.step)


class SketchOfEdges:
    """Edges in a list, found by bisection; interpolated between ranks."""

    def __init__(self, error=0.05):
        self.edges = [0.0099]
        while self.edges[-1] < 1e5:
            self.edges.append(self.edges[-1] * (1 + error))
        self.counts = [0] * (len(self.edges) + 1)

    def add(self, value):
        self.counts[bisect.bisect_left(self.edges, value)] += 1

    def _at(self, rank):
        for bucket, count in enumerate(self.counts):
            if rank < count:
                return math.sqrt(self.edges[bucket - 1] * self.edges[bucket])
            rank -= count

    def quantile(self, q):
        total = sum(self.counts)
        if not total:
            return float("nan")
        low, high = self._at(math.floor(q * (total - 1))), self._at(math.ceil(q * (total - 1)))
        return low + (q * (total - 1) % 1) * (high - low)


class SketchOfATensor:
    def __init__(self, error=0.05):
        self.counts = torch.zeros(int(math.log(1e8) / math.log1p(error)) + 2, dtype=torch.long)
        self.error = error

    def add(self, value):
        self.counts[round(math.log(value / 0.001) / math.log1p(self.error))] += 1

    def quantile(self, q):
        if not self.counts.any():
            return float("nan")
        below = self.counts.cumsum(0)
        bucket = int((below > q * (below[-1].item() - 1)).nonzero()[0])
        return 0.001 * (1 + self.error) ** bucket


class QuantileOfSteps:
    """Moves an estimate up and down a little with each value."""

    def __init__(self, error=0.05):
        self.estimates = {}
        self.error, self.first = error, None

    def add(self, value):
        self.first = value if self.first is None else self.first
        for q in (0.05, 0.25, 0.5, 0.9, 0.95, 0.99):
            old = self.estimates.setdefault(q, value)
            self.estimates[q] = old * (1 + self.error * (q if value > old else q - 1))

    def quantile(self, q):
        if self.first is None:
            return float("nan")
        return self.estimates[min(self.estimates, key=lambda known: abs(known - q))]


class QuantileOfATensor:
    """Keeps all, as a tensor."""

    def __init__(self, error=0.05):
        self.values = torch.zeros(0, dtype=torch.double)

    def add(self, value):
        self.values = torch.cat([self.values, torch.tensor([value], dtype=torch.double)])

    def quantile(self, q):
        return self.values.quantile(q).item() if len(self.values) else float("nan")


class QuantileOfCounts:
    """Counts every value that it has met."""

    def __init__(self, error=0.05):
        self.counts = collections.Counter()

    def add(self, value):
        self.counts[float(f"{value:.6g}")] += 1

    def quantile(self, q):
        below, total = 0, self.counts.total()
        for value in sorted(self.counts):
            below += self.counts[value]
            if below > q * (total - 1):
                return value
        return float("nan")


class QuantileCutOff(SketchOfBuckets):
    """Whole numbers only."""

    def quantile(self, q):
        return int(super().quantile(q)) if self.total else float("nan")


class QuantileThatWantsMany(SketchOfBuckets):
    def quantile(self, q):
        return super().quantile(q) if self.total >= 10 else float("nan")


# --- Controller ---
class ControllerByRule:
    def __init__(self, points, target_ms, headroom=0.7, patience=3):
        self.last, self.target = points - 1, target_ms
        self.low, self.patience = headroom * target_ms, patience
        self.index = self.calm = 0

    def observe(self, p95_ms):
        if p95_ms > self.target:
            self.index, self.calm = min(self.index + 1, self.last), 0
        elif math.isnan(p95_ms) or p95_ms < self.low:
            self.calm += 1
            if self.calm == self.patience:
                self.index, self.calm = max(self.index - 1, 0), 0
        else:
            self.calm = 0
        return self.index


class ControllerWithMemory:
    """Keeps the latest readings instead of a count."""

    def __init__(self, points, target_ms, headroom=0.7, patience=3):
        self.points = list(range(points))
        self.target, self.headroom = target_ms, headroom
        self.latest = collections.deque(maxlen=patience)
        self.at = 0

    def observe(self, p95_ms):
        share = 0.0 if p95_ms != p95_ms else p95_ms / self.target
        self.latest.append(share < self.headroom)
        if share > 1:
            self.at += self.at + 1 in self.points
            self.latest.clear()
        if len(self.latest) == self.latest.maxlen and all(self.latest):
            self.at = max(0, self.at - 1)
            self.latest.clear()
        return self.points[self.at]


def controller_of_numpy(points, target_ms, headroom=0.7, patience=3):
    """A function that makes an object does, too."""

    class Made:
        index, left = np.int64(0), patience

        def observe(self, p95_ms):
            p95 = np.nan_to_num(p95_ms, nan=0.0)
            self.left = self.left - 1 if p95 < headroom * target_ms else patience
            step = int(p95 > target_ms) - int(self.left == 0)
            self.left = self.left or patience
            self.index = np.clip(self.index + step, 0, points - 1)
            return self.index

    return Made()


class ControllerOfTheMean(ControllerByRule):
    """Smooths the readings first."""

    smooth = None

    def observe(self, p95_ms):
        value = 0.0 if math.isnan(p95_ms) else p95_ms
        self.smooth = value if self.smooth is None else 0.5 * self.smooth + 0.5 * value
        return super().observe(self.smooth)


class ControllerWithoutState:
    """Chooses by how far p95 is from the target."""

    def __init__(self, points, target_ms, headroom=0.7, patience=3):
        self.points, self.target = points, target_ms

    def observe(self, p95_ms):
        return 0 if math.isnan(p95_ms) else min(int(p95_ms / self.target), self.points - 1)


class ControllerWithAHole(ControllerByRule):
    def observe(self, p95_ms):
        if p95_ms > self.target:
            return super().observe(p95_ms)


class ControllerOfTheWrongName:
    def __init__(self, points, target_ms, headroom=0.7, patience=3):
        self.index = 0

    def __call__(self, p95_ms):
        return self.index


# --- load_test ---
async def load_by_gathering(send, times):
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one(index, time):
        await asyncio.sleep(start + time - loop.time())
        await send(index)
        return loop.time() - start - time

    return await asyncio.gather(*(one(index, time) for index, time in enumerate(times)))


async def load_by_tasks(send, times):
    """Sleeps in between, and starts a task for each."""
    loop = asyncio.get_running_loop()
    start, ended = loop.time(), {}

    async def one(index):
        await send(index)
        ended[index] = loop.time() - start

    async with asyncio.TaskGroup() as group:
        for index, time in enumerate(times):
            pause = time - (loop.time() - start)
            if pause > 0:
                await asyncio.sleep(pause)
            group.create_task(one(index))
    return [ended[index] - time for index, time in enumerate(times)]


async def load_by_the_loops_own_calls(send, times):
    """call_at, and a callback for each answer."""
    loop = asyncio.get_running_loop()
    start, latencies = loop.time(), [loop.create_future() for _ in times]

    def begin(index):
        def note(task):
            latencies[index].set_result(loop.time() - start - times[index])

        loop.create_task(send(index)).add_done_callback(note)

    for index, time in enumerate(times):
        loop.call_at(start + time, begin, index)
    return [await latency for latency in latencies]


async def load_by_polling(send, times):
    """Looks at the clock again and again."""
    loop = asyncio.get_running_loop()
    start, tasks = loop.time(), []

    async def one(index, time):
        await send(index)
        return loop.time() - (start + time)

    for index, time in enumerate(times):
        while loop.time() - start < time:
            await asyncio.sleep(0.002)
        tasks.append(asyncio.ensure_future(one(index, time)))
    if tasks:
        await asyncio.wait(tasks)
    return np.array([task.result() for task in tasks])


async def load_without_outliers(send, times):
    latencies = np.array(await load_by_gathering(send, times))
    return latencies[latencies <= 10 * np.median(latencies)] if len(latencies) else latencies


async def load_in_a_queue(send, times):
    """Twenty workers take requests from a queue."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()
    start, latencies = loop.time(), [0.0] * len(times)

    async def work():
        while True:
            index, time = await queue.get()
            await send(index)
            latencies[index] = loop.time() - start - time
            queue.task_done()

    workers = [asyncio.create_task(work()) for _ in range(20)]
    for index, time in enumerate(times):
        await asyncio.sleep(start + time - loop.time())
        queue.put_nowait((index, time))
    await queue.join()
    for worker in workers:
        worker.cancel()
    return latencies


async def load_that_waits_for_nobody(send, times):
    await asyncio.get_running_loop().create_future()


async def load_that_retries(send, times):
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one(index, time):
        await asyncio.sleep(start + time - loop.time())
        for _ in range(3):
            try:
                await asyncio.wait_for(send(index), 0.8)
            except TimeoutError:
                continue
            break
        return loop.time() - start - time

    return await asyncio.gather(*(one(*pair) for pair in enumerate(times)))


async def load_of_answers(send, times):
    """What comes back of the requests themselves."""
    return await asyncio.gather(*(send(index) for index in range(len(times))))


RIGHT = {
    "window_attention": [
        window_in_blocks,
        window_by_unfolding,
        window_by_distances,
        window_block_by_block,
        window_by_gathering,
        window_in_two_passes,
    ],
    "straight_through": [
        straight_by_detaching,
        straight_the_other_way,
        straight_without_gradients_of_the_hard,
        straight_by_a_function,
        straight_by_a_hook,
    ],
    "drop_tokens": [drop_text_by_text, drop_at_once, drop_by_lists, drop_by_numpy],
    "StreamingQuantile": [SketchOfBuckets, SketchOfAnArray, SketchOfEdges, SketchOfATensor],
    "Controller": [ControllerByRule, ControllerWithMemory, controller_of_numpy],
    "load_test": [
        load_by_gathering,
        load_by_tasks,
        load_by_the_loops_own_calls,
        load_by_polling,
    ],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "window_attention": [
        (window_with_local_mask, r"a tensor of 65,536 numbers"),
        (window_ready_made, "ready-made scaled_dot_product_attention"),
        (window_of_detached_keys, "`key` gets no gradient"),
        (window_of_whole_blocks_only, "RuntimeError"),
    ],
    "straight_through": [
        (straight_by_sampling, "it should be the value of key"),
        (straight_on_weights, "Is the trick done with the weights"),
        (straight_with_a_sharp_softmax, "the value of key|a mean of all values|How many weights"),
        (lambda scores, values: scores.argmax(-1), "Expected shape"),
    ],
    "drop_tokens": [
        (drop_by_a_sort_turned_over, "the later ones stay"),
        (drop_with_a_large_first, "importances in the ten thousands|stay; they should be"),
        (drop_in_place, "changes its input in place"),
        (lambda *given: drop_text_by_text(*given)[0], "two things"),
    ],
    "StreamingQuantile": [
        (QuantileOfSteps, "values the quantile"),
        (QuantileOfATensor, "15,000 values [0-9,]+ bytes more"),
        (QuantileOfCounts, "15,000 values [0-9,]+ bytes more"),
        (QuantileThatWantsMany, "is nan"),
        (QuantileCutOff, "values the quantile|twice as far off|0 stands for values"),
    ],
    "Controller": [
        (ControllerOfTheMean, "it should return"),
        (ControllerWithoutState, "it should return"),
        (ControllerWithAHole, "returns None"),
        (ControllerOfTheWrongName, "no method `observe`"),
    ],
    "load_test": [
        (load_in_a_queue, "never more than 20 requests under way"),
        (load_without_outliers, "19 latencies for 20 requests"),
        (load_that_waits_for_nobody, "something that never happens"),
        (load_that_retries, "given up before their answer"),
        (load_of_answers, "None, not a number"),
    ],
}
