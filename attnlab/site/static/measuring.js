// Accuracy on the held-out sentences, a group at a time: what Python's Measurements are to the notebook's desk.

import { mcnemar, movedInterval, pairedInterval, shareInterval } from "./shares.js";

const REMEMBERED = 12; // settings, so that going back costs nothing
const FLIPS = 60; // shown

// `ask(texts, faders)` gives probabilities and seconds.
export function measurements({ groups, sentences: { texts, labels }, labels: names }, ask) {
  const known = new Map();
  const key = ({ scale, temperature }) => JSON.stringify([scale, temperature]);
  const made = (faders) => ({ faders, answers: [], groups: 0, seconds: 0 });

  function of(faders, keep = false) {
    const found = known.get(key(faders)) ?? { ...made(faders), keep };
    known.delete(key(faders));
    known.set(key(faders), found); // the newest last
    const others = [...known].filter(([, one]) => !one.keep);
    for (const [old] of others.slice(0, Math.max(0, others.length - REMEMBERED))) known.delete(old);
    return found;
  }

  const done = (one) => one.groups === groups.length;

  // Measure the next group.
  async function advance(one) {
    const group = groups[one.groups];
    const { probabilities, seconds } = await ask(group.map((index) => texts[index]), one.faders);
    group.forEach((index, row) => { one.answers[index] = probabilities[row]; });
    one.groups += 1;
    one.seconds += seconds;
  }

  const answer = (one, index) => one.answers[index].indexOf(Math.max(...one.answers[index]));
  const isRight = (one, index) => answer(one, index) === labels[index];
  const right = (one, indices) => indices.filter((index) => isRight(one, index)).length;

  // What both have seen, for the accuracy panel.
  function report(mine, other) {
    const steps = Math.min(mine.groups, other.groups);
    const seen = groups.slice(0, steps).flat();
    const n = seen.length;
    const finished = steps === groups.length;
    const score = right(mine, seen);
    const found = {
      state: finished ? "measured" : "partial", accuracy: score / n, interval: shareInterval(score, n), n, total: texts.length,
      seconds: mine.seconds, side: "", format: ", in this browser", delta: null,
    };
    if (mine === other) return found;
    const change = difference(mine, other, seen);
    if (!finished && done(other)) { // a change is known much better than an accuracy
      const all = groups.flat();
      const before = right(other, all);
      const moved = (score - right(other, seen)) / n;
      found.accuracy = Math.min(1, Math.max(0, before / all.length + moved));
      found.interval = movedInterval(before / all.length, shareInterval(before, all.length), moved, [change.low, change.high]);
    }
    return { ...found, ...change };
  }

  function difference(mine, other, seen) {
    const flips = seen.filter((index) => answer(mine, index) !== answer(other, index)).map((index) => ({
      text: texts[index], after: names[answer(mine, index)], label: names[labels[index]], right: isRight(mine, index), was: isRight(other, index),
    }));
    const gained = flips.filter(({ right: now, was }) => now && !was).length;
    const lost = flips.filter(({ right: now, was }) => was && !now).length;
    const [low, high] = pairedInterval(gained, lost, seen.length);
    return {
      delta: (gained - lost) / seen.length, low, high, p: mcnemar(gained, lost), gained, lost,
      flips: flips.slice(0, FLIPS).toSorted((a, b) => a.right - b.right),
    };
  }

  return { of, done, advance, report };
}
