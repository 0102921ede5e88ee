// Who is here, and what became of this contributor's rounds.

import { byId, make, setList, setNote, setText } from '../dom.ts';
import { bytes, compact, count, rate } from '../format.ts';
import { say } from '../strings.ts';
import type { PeerRow, RoundRow, Snapshot, Verdict } from '../wasm/net/tributary_web_net.js';
import { isActive } from './view.ts';

const peers = byId('peers');
const peersBody = byId('peers-body');
const peersEmpty = byId('peers-empty');
const peersTotal = byId('peers-total');
const links = byId('links');
const linksNote = byId('links-note');
const rounds = byId('rounds');
const roundsBody = byId('rounds-body');
const roundsEmpty = byId('rounds-empty');

/** Characters of a peer id or hash that tell one from another at a glance. */
const SHORT = 8;

/** Draws the table of contributors and what moves between them and this one. */
export function drawPeers(snapshot: Snapshot | undefined): void {
  const rows = snapshot?.peers ?? [];
  peers.hidden = rows.length === 0;
  peersEmpty.hidden = rows.length > 0;
  setText(
    peersTotal,
    rows.length > 0 ? say.peersTotal(count(rows.length), count(snapshot?.peers_total ?? 0)) : '',
  );
  setList(peersBody, rows, (row) => row.id, newPeer, drawPeer);
  drawLinks(snapshot);
}

function drawLinks(snapshot: Snapshot | undefined): void {
  const wanted = snapshot?.links.wanted ?? 0;
  const [who, direct, now, round, bulk] = links.children as unknown as HTMLElement[];
  links.hidden = !isActive(snapshot) || !snapshot;
  setNote(linksNote, snapshot?.links.why && say.linksMissing(snapshot.links.why));
  if (!snapshot || !who || !direct || !now || !round || !bulk) return;
  const tabs = snapshot.peers.filter((row) => row.kind === 'tab').length;
  setText(who, say.who(count(tabs), count(snapshot.peers.length - tabs)));
  setText(direct, wanted > 0 ? say.links(count(snapshot.links.up), count(wanted)) : '');
  setText(now, say.traffic(rate(snapshot.down_per_s), rate(snapshot.up_per_s)));
  setText(round, say.roundBytes(bytes(snapshot.bytes_round_down), bytes(snapshot.bytes_round_up)));
  setText(bulk, say.bulk(bytes(snapshot.bulk_direct), bytes(snapshot.bulk_coordinator)));
}

function newPeer(): HTMLElement {
  const head = make(
    'th',
    'peer',
    make('span', 'id'),
    make('span', 'me'),
    make('span', 'quiet'),
    make('span', 'quiet'),
  );
  head.scope = 'row';
  return make('tr', '', head, make('td', 'path'), make('td', 'number data', make('span'), make('span')));
}

function drawPeer(element: HTMLElement, row: PeerRow): void {
  const [head, path, data] = element.children as unknown as HTMLElement[];
  const [down, up] = (data?.children ?? []) as unknown as HTMLElement[];
  const [id, me, what, speed] = (head?.children ?? []) as unknown as HTMLElement[];
  if (!id || !me || !what || !speed || !path || !down || !up) return;
  setText(id, row.id.slice(-SHORT));
  id.title = row.id;
  setText(me, row.me ? say.me : '');
  me.hidden = !row.me;
  setText(what, say.peerDevice(say.kind[row.kind], row.device));
  setText(speed, say.peerSpeed(count(row.tokens_per_s), compact(row.tokens)));
  path.dataset.path = row.path;
  setText(path, say.path[row.path]);
  setText(down, row.path === 'direct' ? say.dataIn(rate(row.down_per_s)) : say.none);
  setText(up, row.path === 'direct' ? say.dataOut(rate(row.up_per_s)) : '');
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
