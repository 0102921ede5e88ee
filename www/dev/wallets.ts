// A wallet, a chain and a log that are made up: `?fake=` names the moment, beside the session's: waits, differs, relink,
// unlinked, off.

import type {
  AccountView,
  ClaimView,
  LinkTexts,
  WalletSignature,
} from '../src/wasm/net/tributary_web_net.js';

const MINE = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
const OTHER = '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC';
const CALL = { to: MINE, data: '0x' };
const ICON = `data:image/svg+xml,${encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4" fill="#c60"/></svg>')}`;
const moment = new URLSearchParams(location.search).get('fake') ?? '';
const pending = moment === 'relink' ? { address: OTHER, from: 22_403n } : undefined;

/** What the module's wallet part would say. */
export const walletPart = {
  linkTexts: (): LinkTexts => ({ text: 'a text', handover: 'another text' }),
  walletSignature: (): WalletSignature => ({ signature: '0x', contract: false }),
  linkProof: () => '0x',
  walletAddress: () => MINE,
  chainId: () => '0x7a69',
  Books: class {
    readTo(): void {}
    missing(): undefined {}
    push(): void {}
    free(): void {}
    look(): void {}
    ask(): undefined {}
    tell(): void {}
    account(): AccountView {
      const wallet = { address: MINE, from: 0n };
      return {
        round: 18_083n,
        provisional: 1_440_213n,
        verified: 3_892_771n,
        final: 12_905_880n,
        wallet,
        pending,
        size: 1_204_113n,
      };
    }
    found(): ClaimView {
      const differs = moment === 'differs';
      return {
        ticks: [true, true, true, !differs, !differs],
        claimed: 9_400_000n,
        due: differs ? 0n : 3_505_880n,
        claim: differs ? undefined : CALL,
        shares: 9_400_000n,
        fees: 1_234_500_000_000_000n,
        claim_fees: CALL,
        differs: differs ? 12n : undefined,
        waits: moment === 'waits' ? { due: 1_200_311n, from: 1_800_000_000n } : undefined,
        closes: 18_719n,
      };
    }
  },
};

const number = (big: bigint) => Number(big);
const answers: Record<string, unknown> = {
  '/run.json': {},
  '/api/chain':
    moment === 'off'
      ? null
      : {
          chain: '31337',
          distributor: MINE,
          share: MINE,
          rounds: 1440,
          explorer: 'https://explorer.example',
        },
  '/api/account': {
    peer: '',
    round: 18_083,
    wallet: moment === 'unlinked' ? null : { address: MINE, by: 'key', from: 0 },
    pending: pending ? { ...pending, from: number(pending.from) } : null,
    queued: null,
  },
  '/api/link': {},
  '/api/checkpoint': {},
};
const real = window.fetch;
window.fetch = async (input, init) => {
  const found = Object.keys(answers).find((path) => String(input).startsWith(path));
  return found ? Response.json(answers[found]) : real(input, init);
};

const told: Record<string, unknown> = {
  eth_requestAccounts: [MINE],
  eth_chainId: '0x7a69',
  eth_getBlockByNumber: { timestamp: '0x6b49d200' },
  eth_call: '0x',
  eth_sendTransaction: `0x${'5e'.repeat(32)}`,
  eth_getTransactionReceipt: null,
  eth_getTransactionByHash: { nonce: '0x1' },
};
const request = async ({ method }: { method: string }) => (method in told ? told[method] : '0x');
const announce = () => {
  for (const name of ['Made-up Wallet', 'Another Wallet']) {
    const info = { uuid: name, name, icon: ICON, rdns: name };
    dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail: { info, provider: { request } } }));
  }
};
addEventListener('eip6963:requestProvider', announce);
