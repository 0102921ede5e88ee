// Wallets in this browser: finding them (EIP-6963), asking them (EIP-1193), and what their refusals mean.

import { say } from './strings.ts';

/** A wallet's way in. */
export interface Provider {
  request(ask: { method: string; params?: unknown[] }): Promise<unknown>;
  on?(event: string, listener: (told: unknown) => void): unknown;
}

/** A wallet that announced itself. */
export interface Wallet {
  info: { uuid: string; name: string; icon: string; rdns: string };
  provider: Provider;
}

/** What a trouble's button does before it tries again. */
export type Way = 'again' | 'switch' | 'choose';

/** Something that does not go on, in words, with a way on. */
export class Trouble extends Error {
  constructor(
    words: string,
    readonly way: Way = 'again',
  ) {
    super(words);
  }
}

/** Wallets that are listed: a browser has a few, and anything on the page can announce one. */
const MOST_WALLETS = 16;
/** Milliseconds that an answer may take for which nobody is asked. */
const PATIENCE_MS = 20_000;
/** What the wallet asks its person about, who may take any time. */
const ASKS_PERSON = /^(eth_requestAccounts|personal_sign|eth_sendTransaction|wallet_)/;

/** By their own names for themselves, which stay the same. */
const found = new Map<string, Wallet>();

/** Listens for wallets; `changed` when one more is there. Asks for them now. */
export function findWallets(changed: () => void): void {
  addEventListener('eip6963:announceProvider', (event) => {
    const wallet = (event as CustomEvent<Wallet>).detail;
    const { info, provider } = wallet ?? {};
    if (typeof info?.rdns !== 'string' || typeof info.name !== 'string' || !provider?.request) return;
    if (found.size >= MOST_WALLETS && !found.has(info.rdns)) return;
    found.set(info.rdns, wallet);
    changed();
  });
  askAgain();
}

/** Asks wallets to announce themselves, for one that came since. */
export const askAgain = (): void => {
  dispatchEvent(new Event('eip6963:requestProvider'));
};

/** Those that are here. */
export const wallets = (): Wallet[] => [...found.values()];

/** The one with this name, if it is here. */
export const named = (rdns: unknown): Wallet | undefined => found.get(String(rdns));

/** Only pictures that stand in the announcement itself: nothing is loaded from elsewhere. */
export const icon = ({ info }: Wallet): string =>
  /^data:image\/(svg\+xml|png|webp|gif|jpeg)[;,]/.test(info.icon) ? info.icon : '';

/** Asks a wallet, and says in words what it refuses. */
export async function ask<T>({ provider, info }: Wallet, method: string, ...params: unknown[]): Promise<T> {
  let timer = 0;
  const silent = new Promise<never>((_, reject) => {
    if (ASKS_PERSON.test(method)) return;
    timer = window.setTimeout(() => reject(new Trouble(say.wallet.silent(info.name))), PATIENCE_MS);
  });
  try {
    return (await Promise.race([provider.request({ method, params }), silent])) as T;
  } catch (error) {
    throw error instanceof Trouble ? error : trouble(info.name, error);
  } finally {
    clearTimeout(timer);
  }
}

/** The account that the person lets this page see; the first is the one that is chosen. */
export async function accounts(wallet: Wallet): Promise<string[]> {
  const all = await ask<string[]>(wallet, 'eth_requestAccounts');
  if (!all?.[0]) throw new Trouble(say.wallet.locked(wallet.info.name));
  return all;
}

/** Codes of EIP-1193 and of JSON-RPC. */
function trouble(name: string, error: unknown): Trouble {
  const { code, message = String(error) } = (error ?? {}) as { code?: number; message?: string };
  if (code === 4001) return new Trouble(say.wallet.rejected(name));
  if (code === 4100) return new Trouble(say.wallet.locked(name));
  if (code === 4900 || code === 4901) return new Trouble(say.wallet.disconnected(name));
  if (code === 4902) return new Trouble(say.wallet.unknownChain(name));
  if (code === -32002) return new Trouble(say.wallet.asksAlready(name));
  return new Trouble(say.wallet.failed(name, message.slice(0, 200)));
}
