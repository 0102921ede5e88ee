// The losses as a table and one sentence that says what their curve shows; the curve itself is loaded once there is one.

import { byId, make, setList, setText } from '../dom.ts';
import { count, loss } from '../format.ts';
import { say } from '../strings.ts';
import type { LossPoint } from '../wasm/net/tributary_web_net.js';

const figure = byId('loss-figure');
const empty = byId('loss-empty');
const sentence = byId('loss-sentence');
const body = byId('loss-body');

let drawn = '';

/** Draws the losses, oldest first, if they changed. */
export function drawLosses(points: readonly LossPoint[]): void {
  const key = JSON.stringify(points);
  if (key === drawn) return;
  drawn = key;
  figure.hidden = points.length === 0;
  empty.hidden = points.length > 0;
  if (points.length === 0) return;
  setText(sentence, words(points));
  setList(body, points.toReversed(), (point) => String(point.round), newRow, drawRow);
  // The table says the same, should the curve not come.
  void import('./plot.ts').then(
    ({ plotLosses }) => plotLosses(points),
    () => {},
  );
}

function words(points: readonly LossPoint[]): string {
  const measured = points.filter((point) => point.heldout !== undefined);
  const [first, last] = [measured.at(0), measured.at(-1)];
  const own = points.findLast((point) => point.own !== undefined)?.own;
  const parts: string[] = [];
  if (last) parts.push(say.lossSentence(count(last.round), loss(last.heldout)));
  if (first?.heldout !== undefined && last?.heldout !== undefined && first !== last) {
    const change = last.heldout - first.heldout;
    parts.push(say.lossChange(count(first.round), loss(Math.abs(change)), change <= 0));
  }
  if (own !== undefined) parts.push(say.lossOwn(loss(own)));
  return parts.join(' ');
}

function newRow(): HTMLElement {
  const head = make('th', 'number');
  head.scope = 'row';
  return make('tr', '', head, make('td', 'number'), make('td', 'number'));
}

function drawRow(element: HTMLElement, point: LossPoint): void {
  const [round, heldout, own] = element.children as unknown as HTMLElement[];
  if (!round || !heldout || !own) return;
  setText(round, count(point.round));
  setText(heldout, loss(point.heldout));
  setText(own, loss(point.own));
}
