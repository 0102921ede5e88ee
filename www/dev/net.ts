// Stands in for the wasm module where the page's looks are worked on: names, backups and wallets that mean nothing.

import { walletPart } from './wallets.ts';

const hex = (secret: Uint8Array): string =>
  Array.from(secret, (byte) => byte.toString(16).padStart(2, '0')).join('');

export const loadNet = async () => ({
  ...walletPart,
  peerId: (secret: Uint8Array) => `12D3KooW${hex(secret).slice(0, 44)}`,
  backupSheet: (secret: Uint8Array) => `tributary-identity-0:${hex(secret)}\n`,
  backupSecret: (text: string) => {
    const digits = /tributary-identity-0:([0-9a-f]{64})/.exec(text)?.[1];
    if (!digits) throw new Error('this is not a made-up backup');
    return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  },
});
