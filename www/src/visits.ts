// What this browser remembers of training: each visit's figures, and the losses of the run it trained last.

import { hasNumbers, keep, recall } from './stored.ts';
import { isActive } from './view/view.ts';
import type { LossPoint, Snapshot } from './wasm/net/tributary_web_net.js';

/** One visit: from a first Start until the page is left. */
export interface Visit {
  /** When it began, in milliseconds since 1970, by this machine's clock. */
  began: number;
  /** Milliseconds that it trained. */
  trained: number;
  tokens: number;
  /** Rounds that were credited. */
  rounds: number;
  /** Bytes sent and received. */
  up: number;
  down: number;
}

/** Visits that are listed; older ones are forgotten. */
const MOST = 30;
/** Points of the loss curve that are kept: at half a minute a round, four hours. */
const MOST_POINTS = 500;
/** Milliseconds between two writes. */
const EVERY_MS = 10_000;
/** A longer gap between two snapshots is sleep, not training. */
const LONGEST_GAP_MS = 5000;
const KEYS = ['began', 'trained', 'tokens', 'rounds', 'up', 'down'] as const;

const earlier = read();
let now: Visit | undefined;
/** Rounds of this visit that were credited. */
const credited = new Set<number>();
/** What the last snapshot said, and when. */
let last: { at: number; training: boolean; tokens: number; up: number; down: number } | undefined;
let written = 0;
let run: string | undefined;
const points = new Map<number, LossPoint>();

function read(): Visit[] {
  const kept = recall('visits');
  return Array.isArray(kept) ? kept.filter((one) => hasNumbers(one, KEYS)) : [];
}

/** Newest first, this one included once it trains. */
export const visits = (): readonly Visit[] => [...(now ? [now] : []), ...earlier];

/** Takes a snapshot in. */
export function note(snapshot: Snapshot): void {
  const at = performance.now();
  if (isActive(snapshot)) now ??= { began: Date.now(), trained: 0, tokens: 0, rounds: 0, up: 0, down: 0 };
  if (!now) return;
  add(now, snapshot, at);
  if (at - written > EVERY_MS) {
    written = at;
    write();
  }
}

function add(visit: Visit, snapshot: Snapshot, at: number): void {
  const { tokens, bytes_round_up: up, bytes_round_down: down } = snapshot;
  const training = snapshot.phase.kind === 'training' || snapshot.phase.kind === 'finishing';
  if (training && last?.training) visit.trained += Math.min(at - last.at, LONGEST_GAP_MS);
  visit.up += since(last?.up, up);
  visit.down += since(last?.down, down);
  visit.tokens += since(last?.tokens, tokens);
  for (const row of snapshot.rounds) if (row.verdict.kind === 'credited') credited.add(row.round);
  visit.rounds = credited.size;
  last = { at, training, tokens, up, down };
}

/** How much a counter has grown; one that went back began again. */
const since = (before: number | undefined, now: number): number =>
  before === undefined || now < before ? now : now - before;

/** The losses of a run that this browser knows, of earlier visits too, oldest first; `fresh` are those of now. */
export function losses(id: string | undefined, fresh: readonly LossPoint[]): LossPoint[] {
  if (id !== run) {
    run = id;
    points.clear();
    for (const point of id ? recallPoints(id) : []) points.set(point.round, point);
  }
  for (const { round, heldout, own } of fresh) {
    // What is not known any more must not take the place of what was.
    const before = points.get(round);
    points.set(round, { round, heldout: heldout ?? before?.heldout, own: own ?? before?.own });
  }
  const sorted = [...points.values()].sort((one, other) => one.round - other.round);
  for (const { round } of sorted.splice(0, sorted.length - MOST_POINTS)) points.delete(round);
  return sorted;
}

function recallPoints(run: string): LossPoint[] {
  const kept = recall('losses') as { run?: unknown; points?: unknown } | undefined;
  if (kept?.run !== run || !Array.isArray(kept.points)) return [];
  return kept.points.filter((point): point is LossPoint => hasNumbers(point, ['round']));
}

/** Writes what there is; when the page is left, too. */
export function write(): void {
  if (!now) return;
  keep('visits', visits().slice(0, MOST));
  if (run) keep('losses', { run, points: [...points.values()] });
}

/** Forgets all of it. */
export function forget(): void {
  earlier.length = 0;
  now = undefined;
  credited.clear();
  points.clear();
  keep('visits', undefined);
  keep('losses', undefined);
}
