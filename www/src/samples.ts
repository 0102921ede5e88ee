// What each new model makes of the same beginnings, so that one sees it learn. Written by this contributor while
// somebody looks, at a price that is bounded and said; kept by this browser from visit to visit.

import { byId, make, setList, setText } from './dom.ts';
import { count } from './format.ts';
import { hasNumbers, keep, recall } from './stored.ts';
import { say } from './strings.ts';
import { isWriting, type Model } from './try.ts';
import type { View } from './view/view.ts';

/** What one model wrote. */
interface Sample {
  /** The round that trains from it. */
  round: number;
  /** How it went on, for each beginning. */
  texts: string[];
}

/** One that is being written. */
interface Job extends Sample {
  /** The request for the text that comes next. */
  id: number;
  began: number;
}

/** Bytes written for each beginning: a line. */
const LENGTH = 60;
/** Samples that are kept: the first, for how it began, and the last ones. */
const MOST = 7;
/** Milliseconds between two at least: often enough to look at. */
const GAP_MS = 60_000;
/** Milliseconds after which one is given up. */
const LIMIT_MS = 30_000;
/** Writing costs training a fifth of its speed, so a rest of nine times as long leaves two per cent. */
const REST = 9;

const list = byId('samples-list');
const empty = byId('samples-empty');

let run: string | undefined;
let samples: Sample[] = [];
let job: Job | undefined;
/** When the next may begin, by `performance.now()`. */
let due = 0;
/** Requests have names of their own: a person's count from one, and another page may show the same program. */
let id = 2 ** 31 + Math.floor(Math.random() * 2 ** 30);

/** Goes on with the sample under way, or begins one if there is a new model and time for it. */
export function watchSamples(view: View, model: Model): void {
  const { snapshot } = view;
  follow(snapshot?.run?.id ?? view.run?.run);
  const now = performance.now();
  const answer = snapshot?.answer;
  const training = snapshot?.phase.kind === 'training';
  if (job && (!training || isWriting() || now - job.began > LIMIT_MS)) {
    // Somebody's own text has ended this one already.
    if (!isWriting()) model.hush();
    rest(job, now);
  } else if (job && answer?.id === job.id && answer.end !== undefined) {
    // A model may end its text, or read no more, before the line is full.
    if (typeof answer.end === 'string' && answer.end !== 'stopped') goOn(job, answer.text, model, now);
    else rest(job, now);
  }
  const round = snapshot?.round?.round;
  const busy = job || isWriting() || (answer && answer.end === undefined);
  if (!training || busy || document.hidden || now < due || !snapshot.tokens || round === undefined) return;
  if (samples.at(-1)?.round === round) return;
  job = { round, texts: [], id: 0, began: now };
  ask(job, model);
}

function ask(job: Job, model: Model): void {
  id += 1;
  job.id = id;
  const { length: seed } = job.texts;
  const prompt = say.beginnings[seed] ?? '';
  // A line has the same draws in each sample: what differs is the model's doing.
  model.generate({ id, prompt, tokens: LENGTH, temperature: 0.7, seed });
}

function goOn(job: Job, text: string, model: Model, now: number): void {
  const { round, texts } = job;
  texts.push(text);
  if (texts.length < say.beginnings.length) {
    ask(job, model);
    return;
  }
  rest(job, now);
  // A run that began anew has its rounds once more.
  samples = [...samples.filter((one) => one.round < round), { round, texts }];
  if (samples.length > MOST) samples.splice(1, 1);
  keep('samples', { run, samples });
  draw();
}

function rest({ began }: Job, now: number): void {
  job = undefined;
  due = now + Math.max(GAP_MS, REST * (now - began));
}

/** Shows what this browser knows of a run. */
function follow(now: string | undefined): void {
  if (now === run) return;
  run = now;
  const kept = recall('samples') as { run?: unknown; samples?: unknown } | undefined;
  const known = kept && kept.run === run && Array.isArray(kept.samples) ? kept.samples : [];
  samples = known.filter(
    (one): one is Sample => hasNumbers(one, ['round']) && 'texts' in one && Array.isArray(one.texts),
  );
  draw();
}

/** Forgets all of them. */
export function forgetSamples(): void {
  samples = [];
  keep('samples', undefined);
  draw();
}

function draw(): void {
  empty.hidden = samples.length > 0;
  const create = () =>
    make(
      'li',
      '',
      make('h3'),
      ...say.beginnings.map((begin) => make('p', 'line', make('span', 'begin', begin), '')),
    );
  setList(
    list,
    samples.toReversed(),
    ({ round }) => String(round),
    create,
    (row, { round, texts }) => {
      const [title, ...lines] = row.children as unknown as HTMLElement[];
      if (title) setText(title, say.atRound(count(round)));
      for (const [at, line] of lines.entries()) (line.lastChild as Text).data = texts[at] ?? '';
    },
  );
}
