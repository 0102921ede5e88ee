// What this machine is good for, in words.

import { byId, setText } from '../dom.ts';
import { compact } from '../format.ts';
import type { Machine } from '../probe.ts';
import { say } from '../strings.ts';

const place = byId('probe');
const words = byId('probe-words');
const pays = byId('probe-pays');
const bar = byId('probe-bar');
const again = byId<HTMLButtonElement>('probe-again');

/** What is known: nothing yet, that it is being measured, that this failed, or what came of it and may be earned. */
export type Probed =
  | undefined
  | 'measuring'
  | 'unknown'
  | { machine: Machine; hourly: [number, number] | undefined };

/** Draws it. */
export function drawProbe(probed: Probed): void {
  place.hidden = probed === undefined;
  bar.hidden = probed !== 'measuring';
  again.hidden = probed === 'measuring';
  pays.hidden = true;
  if (probed === undefined) return;
  if (probed === 'measuring' || probed === 'unknown') {
    setText(words, probed === 'measuring' ? say.probing : say.probeFailed);
    return;
  }
  const { machine, hourly } = probed;
  place.dataset.kind = machine.kind;
  setText(words, say.probed[machine.kind](machine.gpu || say.unnamed));
  if (!hourly) return;
  const [least, most] = hourly.map((credits) => compact(Math.round(credits)));
  setText(pays, least === most ? say.earnsAbout(most ?? '') : say.earnsRange(least ?? '', most ?? ''));
  pays.hidden = false;
}
