// Wallets: linking one to the identity, and what the page knows of it. Texts, proofs and amounts are made by the wasm
// module; this carries them between the coordinator, the wallet and the person.

import { check, follow, send } from './claims.ts';
import { byId, setNote } from './dom.ts';
import { look } from './identity.ts';
import { loadNet, type Net } from './net.ts';
import { accounts, ask, askAgain, findWallets, named, Trouble, type Wallet } from './provider.ts';
import { keep, recall } from './stored.ts';
import { say } from './strings.ts';
import { choose, drawWallet, drawWallets, type WalletView } from './view/wallet.ts';
import type { ChainFile } from './wasm/net/tributary_web_net.js';

/** `/api/account`. */
export interface Account {
  peer: string;
  round: number | null;
  wallet: { address: string; by: string; from: number } | null;
  pending: { address: string; from: number } | null;
  queued: { address: string } | null;
}

/** Milliseconds between two looks at the account while a link waits for a round; otherwise the page looks so many
 * times more rarely, for a change that the person did not ask for. */
const LOOK_MS = 10_000;
const RARELY = 30;

export const view: WalletView = {
  code: undefined,
  account: undefined,
  chain: undefined,
  busy: undefined,
  trouble: undefined,
  log: undefined,
  claims: undefined,
  sent: [],
  done: undefined,
};
let using: Wallet | undefined;
const heard = new WeakSet<Wallet>();

/** Wires the section up. `#link=CODE` is from a program that asks for a wallet. */
export async function startWallet(): Promise<void> {
  findWallets(drawWallets);
  byId('wallet-check').addEventListener('click', () => void run(check));
  byId('wallet-claim').addEventListener('click', () => void run(() => send('claim')));
  byId('wallet-fees').addEventListener('click', () => void run(() => send('fees')));
  addEventListener('hashchange', () => void run(lookAgain));
  let looks = 0;
  setInterval(() => {
    looks += 1;
    const now = view.account?.queued || looks % RARELY === 0;
    if (now && !view.busy) void lookAgain().catch(() => {});
  }, LOOK_MS);
  await run(lookAgain);
  follow();
}

/** Links a wallet to the identity, or to the program that asks. */
export const link = (): Promise<void> => run(linking);

/** Does one thing at a time; what goes wrong is shown with a button that tries again. */
export async function run(job: () => Promise<void>): Promise<void> {
  if (view.busy) return;
  const from = document.activeElement as HTMLElement | null;
  set({ busy: say.wallet.working, trouble: undefined, done: undefined });
  try {
    await job();
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    const way = error instanceof Trouble ? error.way : 'again';
    const help = async () => {
      if (way === 'choose') using = undefined;
      if (way === 'switch') await switchChain();
      await job();
    };
    // Whoever presses Cancel knows.
    if (words) view.trouble = { words, way, help: () => void run(help) };
  }
  set({ busy: undefined });
  if (!byId('wallet').contains(from)) return;
  // The button that was pressed could not keep the focus, and may be gone; in a dialog that is closed it is lost.
  const now = document.activeElement;
  const lost = now === document.body || now === from || byId('wallet-dialog').contains(now);
  if (lost) (from?.hidden ? byId('wallet-link') : from)?.focus({ preventScroll: true });
}

/** Changes what is shown. */
export function set(change: Partial<WalletView>): void {
  Object.assign(view, change);
  drawWallet(view);
}

/** Asks the coordinator. */
export async function api<T>(path: string, body?: object): Promise<T> {
  const post = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, body ? post : { cache: 'no-store' }).catch(() => undefined);
  if (!response) throw new Trouble(say.wallet.coordinatorGone);
  const found = await response.json().catch(() => undefined);
  if (!response.ok) throw new Trouble(found?.why ?? say.wallet.coordinatorSays(String(response.status)));
  return found as T;
}

/** Whose earnings this is about: the identity here, or the program that asks. */
async function whose(net: Net): Promise<string | undefined> {
  const code = /^#link=([\w-]{4,32})$/.exec(location.hash)?.[1];
  if (code) {
    const { peer } = await api<{ peer: string }>(`/api/link/code/${code}`);
    view.code = { code, peer };
    return peer;
  }
  view.code = undefined;
  const { secret } = await look();
  return secret && net.peerId(secret);
}

export async function lookAgain(): Promise<void> {
  const peer = await whose(await loadNet());
  // Contracts never change, but they may be there only now.
  if (!view.chain?.rounds) view.chain = await api<ChainFile | null>('/api/chain');
  const account = peer ? await api<Account>(`/api/account/${peer}`) : undefined;
  // What was read of somebody else is nothing to go by.
  if (account?.peer !== view.account?.peer) set({ log: undefined, claims: undefined });
  set({ account });
}

async function linking(): Promise<void> {
  const net = await loadNet();
  const peer = await whose(net);
  if (!peer) throw new Trouble(say.consentFirst);
  await lookAgain();
  const wallet = await pick(say.wallet.chooseNew);
  const [address = ''] = await accounts(wallet);
  const chain = await onChain(wallet, net);
  const { nonce, issued } = await api<{ nonce: string; issued: number }>('/api/link/nonce', {});
  const terms = { peer, origin: location.origin, wallet: address, chain, nonce, issued };
  const { text, handover } = net.linkTexts(terms);
  const by = await signed(net, wallet, text, address);
  const before = view.account?.wallet?.address;
  const over =
    before && before !== net.walletAddress(address) ? await handedOver(net, handover, before) : undefined;
  set({ busy: say.wallet.working });
  if (view.code) {
    await api(`/api/link/code/${view.code.code}`, { text, ...by, handover: over ?? null });
    return set({ done: say.wallet.programDone });
  }
  const { secret } = await look();
  if (!secret) throw new Trouble(say.consentFirst);
  const { waits } = await api<{ waits: boolean }>('/api/link', {
    proof: net.linkProof(secret, text, by, over),
  });
  set({ done: waits ? say.wallet.linkedLater : say.wallet.linked, claims: undefined, log: undefined });
  await lookAgain();
}

/** What the wallet signs. Only where there is code at the address can it be a contract's. */
async function signed(net: Net, wallet: Wallet, text: string, address: string) {
  set({ busy: say.wallet.sign(wallet.info.name) });
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, '0'));
  const signature = await ask<string>(wallet, 'personal_sign', `0x${bytes.join('')}`, address);
  const code = await ask<string>(wallet, 'eth_getCode', address, 'latest').catch(() => '0x');
  return net.walletSignature(text, signature, address, code);
}

/** The signature of the wallet that was paid until now, or nothing where the person goes on without. */
async function handedOver(net: Net, text: string, before: string): Promise<string | undefined> {
  const wallet = await choose(say.wallet.chooseOld(before), say.wallet.without);
  if (!wallet) return undefined;
  const all = await accounts(wallet);
  const address = all.find((one) => net.walletAddress(one) === before);
  if (!address) throw new Trouble(say.wallet.otherAccount(before));
  set({ busy: say.wallet.sign(wallet.info.name) });
  return (await signed(net, wallet, text, address)).signature;
}

/** The wallet that the person chose before, or chooses now. */
export async function current(): Promise<Wallet> {
  if (using) return using;
  const known = recall('wallet');
  if (typeof known !== 'string') return pick(say.wallet.chooseAny);
  const before = named(known);
  if (before) return use(before);
  keep('wallet', undefined);
  throw new Trouble(say.wallet.removed, 'choose');
}

async function pick(words: string): Promise<Wallet> {
  askAgain();
  const wallet = await choose(words);
  if (!wallet) throw new Trouble('');
  return use(wallet);
}

function use(wallet: Wallet): Wallet {
  using = wallet;
  keep('wallet', wallet.info.rdns);
  if (!heard.has(wallet)) {
    heard.add(wallet);
    // What was read of another network or account holds no more.
    wallet.provider.on?.('chainChanged', () => using === wallet && set({ claims: undefined }));
    wallet.provider.on?.('accountsChanged', (all) => {
      if (using === wallet && Array.isArray(all) && all.length === 0)
        setNote(byId('wallet-done'), say.wallet.locked(wallet.info.name));
    });
  }
  return wallet;
}

/** The chain that the wallet is on, which must be the contract's where there is one. */
export async function onChain(wallet: Wallet, net: Net): Promise<string> {
  const id = net.chainId(String(await ask(wallet, 'eth_chainId')));
  const { chain } = view;
  if (chain && net.chainId(chain.chain) !== id)
    throw new Trouble(say.wallet.wrongChain(chain.chain), 'switch');
  return id;
}

async function switchChain(): Promise<void> {
  const net = await loadNet();
  const wallet = await current();
  if (view.chain) await ask(wallet, 'wallet_switchEthereumChain', { chainId: net.chainId(view.chain.chain) });
}
