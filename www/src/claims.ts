// What can be claimed: the log is read and recomputed, the chain asked through the wallet, and claims are sent and
// followed. The wasm module says what is asked, what it means, and what is sent.

import { count } from './format.ts';
import { loadNet } from './net.ts';
import { accounts, ask, named, Trouble } from './provider.ts';
import { hasNumbers, keep, recall } from './stored.ts';
import { say } from './strings.ts';
import { api, current, lookAgain, onChain, run, set, view } from './wallet.ts';
import type { Books, ChainFile, RunFile } from './wasm/net/tributary_web_net.js';

/** A transaction of this page's. */
export interface Sent {
  hash: string;
  what: 'claim' | 'fees';
  /** In credits or the coin's smallest unit, decimal. */
  amount: string;
  from: string;
  at: number;
  nonce?: number;
  state: 'sent' | 'waiting' | 'stuck' | 'done' | 'replaced' | 'failed';
}

/** What is kept of them: a claim a week for some months. */
const MOST_SENT = 20;
/** Milliseconds between two looks at a transaction, a sixth of a block's time on most chains. */
const FOLLOW_MS = 2_000;
/** After so long without a block it is said what can be done. */
const STUCK_MS = 120_000;
/** After so long no chain takes a block back. */
const REORGANISED_MS = 3_600_000;

let books: Books | undefined;
/** The chain that they are for. */
let booksOf: ChainFile | null | undefined;
let following = false;

/** Reads the log as far as it isn't read yet, and asks the chain. */
export async function check(): Promise<void> {
  await lookAgain();
  const { account, chain } = view;
  if (!account) return;
  set({ claims: undefined });
  if (booksOf !== chain) forget();
  booksOf = chain;
  const net = await loadNet();
  try {
    books ??= new net.Books(await api<RunFile>('/run.json'), chain);
    books.begin();
    books.readTo(await bytes('/api/checkpoint'));
    for (let from = books.missing(); from !== undefined; from = books.missing()) {
      set({ busy: say.wallet.reading(count(from)) });
      books.push(await bytes(`/api/ledger?from=${from}`));
    }
    set({ log: books.account(account.peer) });
  } catch (error) {
    // Whatever is wrong with it, it is read anew.
    forget();
    throw error;
  }
  const paid = view.log?.wallet?.address;
  if (paid !== account.wallet?.address) throw new Trouble(say.wallet.otherPayee);
  if (!chain || !paid) return;
  set({ busy: say.wallet.asking });
  const wallet = await current();
  await onChain(wallet, net);
  const block = await ask<{ timestamp?: string }>(wallet, 'eth_getBlockByNumber', 'latest', false);
  if (!block?.timestamp) throw new Trouble(say.wallet.silent(wallet.info.name));
  books.look(chain, paid, BigInt(block.timestamp));
  for (let question = books.ask(); question; question = books.ask())
    books.tell(String(await ask(wallet, 'eth_call', question, 'latest')));
  set({ claims: books.found() });
  // A chain takes back a block now and then: what was done may have to be waited for once more.
  const settled = ({ state, at }: Sent) => state === 'done' && Date.now() - at < REORGANISED_MS;
  for (const one of view.sent.filter(settled)) await step(one).catch(() => {});
  remember(view.sent);
  follow();
}

function forget(): void {
  books?.free();
  books = undefined;
}

async function bytes(path: string): Promise<Uint8Array> {
  const response = await fetch(path, { cache: 'no-store' }).catch(() => undefined);
  if (!response?.ok) throw new Trouble(say.wallet.coordinatorGone);
  return new Uint8Array(await response.arrayBuffer());
}

/** Sends a claim of what was found due. */
export async function send(what: Sent['what']): Promise<void> {
  const { claims } = view;
  const call = what === 'claim' ? claims?.claim : claims?.claim_fees;
  if (!claims || !call) return;
  const wallet = await current();
  const net = await loadNet();
  const [from = ''] = await accounts(wallet);
  await onChain(wallet, net);
  const transaction = { from, ...call };
  // What the contract would refuse costs gas for nothing.
  await ask(wallet, 'eth_call', transaction, 'latest');
  set({ busy: say.wallet.confirm(wallet.info.name) });
  const hash = await ask<string>(wallet, 'eth_sendTransaction', transaction);
  const amount = String(what === 'claim' ? claims.due : claims.fees);
  remember([{ hash, what, amount, from, at: Date.now(), state: 'sent' }, ...view.sent]);
  // What was due is under way now.
  set({ claims: undefined });
  follow();
}

/** Looks after what is under way until it has ended, after a reload too. */
export function follow(): void {
  if (view.sent.length === 0) remember(restored());
  if (following || !view.sent.some(isOpen)) return;
  following = true;
  const again = async () => {
    const before = view.sent.filter(isOpen);
    for (const one of before) await step(one).catch(() => {});
    remember(view.sent);
    following = view.sent.some(isOpen);
    if (following) setTimeout(() => void again(), FOLLOW_MS);
    // What a transaction changed is looked up once it is in a block.
    else refresh();
  };
  // Not dropped for whatever the page is doing just then.
  const refresh = (): unknown => (view.busy ? setTimeout(refresh, FOLLOW_MS) : run(check));
  void again();
}

async function step(one: Sent): Promise<void> {
  const wallet = named(recall('wallet'));
  if (!wallet) return;
  const known = await ask<{ nonce?: string } | null>(wallet, 'eth_getTransactionByHash', one.hash);
  if (known?.nonce) one.nonce = Number(known.nonce);
  const receipt = await ask<{ status?: string } | null>(wallet, 'eth_getTransactionReceipt', one.hash);
  if (receipt) {
    one.state = receipt.status === '0x1' ? 'done' : 'failed';
    return;
  }
  const used = Number(await ask(wallet, 'eth_getTransactionCount', one.from, 'latest'));
  // A block has one transaction of each number, and it was another.
  if (!known && one.nonce !== undefined && used > one.nonce) one.state = 'replaced';
  else if (Date.now() - one.at > STUCK_MS) one.state = 'stuck';
  else one.state = known ? 'waiting' : 'sent';
}

const isOpen = ({ state }: Sent): boolean => state === 'sent' || state === 'waiting' || state === 'stuck';

function remember(sent: Sent[]): void {
  keep('sent', sent.slice(0, MOST_SENT));
  set({ sent: sent.slice(0, MOST_SENT) });
}

function restored(): Sent[] {
  const kept = recall('sent');
  const isOne = (one: unknown) => hasNumbers(one, ['at']) && /^\d+$/.test((one as unknown as Sent).amount);
  return Array.isArray(kept) ? kept.filter(isOne) : [];
}
