// What happens now, in words, with the round's clock.

import { byId, sentence, setNote, setText } from '../dom.ts';
import { compact, count, duration, megabytes } from '../format.ts';
import { say } from '../strings.ts';
import type { Phase, RoundView } from '../wasm/net/tributary_web_net.js';
import { bulk, isActive, type View } from './view.ts';

const card = byId('part');
const state = byId('state');
const more = byId('more');
const bar = byId('bar');
const fill = byId('fill');
const error = byId('error');
const notice = byId('notice');
const start = byId<HTMLButtonElement>('start');
const finish = byId<HTMLButtonElement>('finish');
const stop = byId<HTMLButtonElement>('stop');
const reload = byId<HTMLButtonElement>('reload');
/** As `index.html` has it. */
const { title } = document;
/** Bytes of a parameter in the model that is fetched. */
const PARAMETER_BYTES = 4;

/** Draws everything that does not depend on the time. */
export function drawStatus(view: View): void {
  const { snapshot } = view;
  const active = view.starting || isActive(snapshot);
  card.dataset.phase = view.starting ? 'preparing' : (snapshot?.phase.kind ?? 'idle');
  const words = view.starting ? startingWords(view) : phaseWords(snapshot?.phase, snapshot?.round);
  setText(state, words);
  document.title = active ? say.titled(words) : title;
  const failed = snapshot?.phase.kind === 'failed' ? snapshot.phase.why : undefined;
  setNote(error, view.error ?? failed);
  reload.hidden = error.hidden;
  setNote(notice, [snapshot?.notice, view.note].filter(Boolean).join(' '));
  showButtons(active, snapshot?.phase.kind === 'finishing' || view.starting);
  drawClock(view);
}

/** Draws what moves by itself: call it a few times a second. */
export function drawClock(view: View): void {
  const { loading, snapshot } = view;
  if (loading) {
    setText(more, say.loaded(megabytes(loading.done), megabytes(loading.total)));
    showBar(loading.total > 0 ? loading.done / loading.total : 0, loading.what);
    return;
  }
  const kind = snapshot?.phase.kind;
  // Once the device is open, what is still missing is the model.
  if (!view.starting && kind === 'preparing' && snapshot?.run && snapshot.device) {
    const total = snapshot.run.params * PARAMETER_BYTES;
    const done = Math.min(bulk(snapshot) - view.bulkBefore, total);
    setText(more, say.loaded(megabytes(done), megabytes(total)));
    showBar(done / total, more.textContent ?? '');
    return;
  }
  const round = view.starting ? undefined : snapshot?.round;
  if (!round || !(kind === 'training' || kind === 'finishing')) {
    setText(more, '');
    showBar(undefined, '');
    return;
  }
  const tokens = snapshot?.tokens === 0 ? say.warmingUp : say.roundTokens(compact(round.tokens));
  if (round.left_ms === undefined) {
    setText(more, `${say.folding}, ${tokens}`);
    showBar(1, say.folding);
    return;
  }
  const left = Math.max(0, round.left_ms - (performance.now() - view.at));
  const whole = (snapshot?.run?.round_seconds ?? 0) * 1000;
  setText(more, `${say.left(duration(left))}, ${tokens}`);
  showBar(whole > 0 ? 1 - left / whole : 0, say.left(duration(left)));
}

function startingWords(view: View): string {
  return view.loading ? say.loading(view.loading.what) : say.opening;
}

function phaseWords(phase: Phase | undefined, round: RoundView | undefined): string {
  switch (phase?.kind) {
    case undefined:
    case 'idle':
      return say.idle;
    case 'connecting':
      return say.connecting;
    case 'preparing':
      return sentence(phase.what);
    case 'waiting':
      return say.waiting;
    case 'training':
      return round ? say.trainingRound(count(round.round)) : say.training;
    case 'finishing':
      return round ? say.finishingRound(count(round.round)) : say.finishing;
    case 'failed':
      return say.failed;
  }
}

/** A share from 0 to 1, or nothing to show. */
function showBar(share: number | undefined, words: string): void {
  bar.classList.toggle('off', share === undefined);
  if (share === undefined) {
    bar.removeAttribute('aria-valuenow');
    return;
  }
  const percent = Math.round(Math.min(1, Math.max(0, share)) * 1000) / 10;
  fill.style.transform = `scaleX(${percent / 100})`;
  bar.setAttribute('aria-valuenow', String(Math.round(percent)));
  bar.setAttribute('aria-valuetext', words);
}

/** Swaps Start for the two ways to stop and takes the keyboard focus along. */
function showButtons(active: boolean, finishing: boolean): void {
  const focused = document.activeElement;
  start.hidden = active;
  finish.hidden = !active;
  finish.disabled = finishing;
  stop.hidden = !active;
  if (active && (focused === start || (finishing && focused === finish))) stop.focus();
  if (!active && (focused === finish || focused === stop)) start.focus();
}
