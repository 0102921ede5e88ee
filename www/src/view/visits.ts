// What this browser remembers of earlier visits.

import { byId, make, setList, setText } from '../dom.ts';
import { bytes, compact, count, day, span } from '../format.ts';
import { say } from '../strings.ts';
import { type Visit, visits } from '../visits.ts';

const empty = byId('visits-empty');
const sentence = byId('visits-sentence');
const table = byId('visits');
const body = byId('visits-body');
const forget = byId('visits-forget');

/** Draws the list and one sentence that sums it up. */
export function drawVisits(): void {
  const all = visits();
  for (const element of [sentence, table, forget]) element.hidden = all.length === 0;
  empty.hidden = all.length > 0;
  const sum = (key: 'trained' | 'tokens' | 'rounds') => all.reduce((total, visit) => total + visit[key], 0);
  setText(
    sentence,
    say.visits(count(all.length), span(sum('trained')), compact(sum('tokens')), count(sum('rounds'))),
  );
  setList(body, all, (visit) => String(visit.began), newRow, drawRow);
}

function newRow(): HTMLElement {
  const head = make('th');
  head.scope = 'row';
  const cells = Array.from({ length: 3 }, () => make('td', 'number'));
  return make('tr', '', head, ...cells, make('td', 'number data', make('span'), make('span')));
}

function drawRow(row: HTMLElement, visit: Visit): void {
  const texts = [day(visit.began), span(visit.trained), compact(visit.tokens), count(visit.rounds)];
  for (const [at, text] of texts.entries()) setText(row.children[at] as HTMLElement, text);
  const [down, up] = row.querySelectorAll<HTMLElement>('.data span');
  if (!down || !up) return;
  setText(down, say.dataIn(bytes(visit.down)));
  setText(up, say.dataOut(bytes(visit.up)));
}
