// Who is here, and what became of this contributor's rounds.

import { byId, make, sentence, setList, setText } from '../dom.ts';
import { compact, count } from '../format.ts';
import { say } from '../strings.ts';
import type { PeerRow, RoundRow, Snapshot, Verdict } from '../wasm/net/tributary_web_net.js';

const peers = byId('peers');
const peersEmpty = byId('peers-empty');
const peersTotal = byId('peers-total');
const rounds = byId('rounds');
const roundsBody = byId('rounds-body');
const roundsEmpty = byId('rounds-empty');

/** Characters of a peer id or hash that tell one from another at a glance. */
const SHORT = 8;

/** Draws the list of contributors. */
export function drawPeers(snapshot: Snapshot | undefined): void {
  const rows = snapshot?.peers ?? [];
  peers.hidden = rows.length === 0;
  peersEmpty.hidden = rows.length > 0;
  setText(
    peersTotal,
    rows.length > 0 ? say.peersTotal(count(rows.length), count(snapshot?.peers_total ?? 0)) : '',
  );
  setList(peers, rows, (row) => row.id, newPeer, drawPeer);
}

function newPeer(): HTMLElement {
  return make(
    'li',
    'peer',
    make('span', 'id'),
    make('span', 'me'),
    make('span', 'kind'),
    make('span', 'line', make('span'), make('span', 'quiet')),
  );
}

function drawPeer(element: HTMLElement, row: PeerRow): void {
  const [id, me, kind, line] = element.children as unknown as HTMLElement[];
  const [what, speed] = (line?.children ?? []) as unknown as HTMLElement[];
  if (!id || !me || !kind || !what || !speed) return;
  setText(id, row.id.slice(-SHORT));
  id.title = row.id;
  setText(me, row.me ? say.me : '');
  me.hidden = !row.me;
  setText(kind, say.kind[row.kind]);
  setText(what, sentence(row.device));
  setText(speed, say.peerSpeed(count(row.tokens_per_s), compact(row.tokens)));
}

/** Draws this contributor's rounds, newest first. */
export function drawRounds(snapshot: Snapshot | undefined): void {
  const rows = snapshot?.rounds ?? [];
  rounds.hidden = rows.length === 0;
  roundsEmpty.hidden = rows.length > 0;
  setList(roundsBody, rows, (row) => String(row.round), newRound, drawRound);
}

function newRound(): HTMLElement {
  const head = make('th', 'number');
  head.scope = 'row';
  const verdict = make('td', '', make('span', 'verdict'), make('span', 'hash'));
  return make('tr', '', head, make('td', 'number'), verdict);
}

function drawRound(element: HTMLElement, row: RoundRow): void {
  const [round, tokens, last] = element.children as unknown as HTMLElement[];
  const [verdict, hash] = (last?.children ?? []) as unknown as HTMLElement[];
  if (!round || !tokens || !verdict || !hash) return;
  setText(round, count(row.round));
  setText(tokens, count(row.tokens));
  verdict.dataset.verdict = row.verdict.kind;
  setText(verdict, verdictWords(row.verdict));
  setText(hash, row.state ? say.state(row.state.slice(0, SHORT)) : '');
  hash.title = row.state ?? '';
}

function verdictWords(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'credited':
      return say.verdict.credited(count(verdict.credits));
    case 'refused':
    case 'withheld':
      return say.verdict[verdict.kind](verdict.why);
    default:
      return say.verdict[verdict.kind];
  }
}
