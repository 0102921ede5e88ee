// Messages as viem makes and signs them, for the ledger's tests: `node links.mjs write`, `node links.mjs check`.
//
// Leaves: core/ledger/tests/links.json, the same each time: viem's signatures take no chance. What viem reads back must
// be what it wrote.
import { strictEqual } from 'node:assert';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashMessage, keccak256, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { createSiweMessage, parseSiweMessage, validateSiweMessage } from 'viem/siwe';

const path = join(import.meta.dirname, '../ledger/tests/links.json');
/** Some peer. */
const PEER = '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5';
const STATEMENT = 'I let my Tributary earnings go to this account. This moves no funds and gives no approval.';

const times = ['1970-01-01T00:00:00Z', '2000-02-29T23:59:59Z', '2026-11-23T05:00:00Z', '2100-03-01T00:00:00Z', '2400-02-29T12:00:00Z', '9999-12-31T23:50:00Z'];
const places = [
  ['train.example', 'https://train.example/'],
  ['localhost:8080', 'http://localhost:8080'],
  ['192.0.2.7:8443', 'https://192.0.2.7:8443/run?id=7#wallet'],
];

async function example(at) {
  const account = privateKeyToAccount(keccak256(toHex(`account ${at}`)));
  const [domain, uri] = places[at % places.length];
  const issuedAt = new Date(times[at % times.length]);
  const expirationTime = new Date(issuedAt.getTime() + 300_000 - 1_000 * at);
  const fields = { address: account.address, chainId: 1 + at ** 5, domain, nonce: keccak256(toHex(at)).slice(2, 10 + at), uri };
  const dates = { issuedAt, expirationTime };
  const made = createSiweMessage({ ...fields, ...dates, version: '1', statement: STATEMENT, resources: [`urn:libp2p:peer:${PEER}`] });
  // viem writes milliseconds; ours are whole seconds and have none, which the specification allows as well.
  const text = made.replaceAll('.000Z', 'Z');
  const read = parseSiweMessage(text);
  for (const [name, value] of Object.entries(fields)) strictEqual(read[name], value);
  for (const [name, value] of Object.entries(dates)) strictEqual(read[name]?.getTime(), value.getTime());
  strictEqual(read.resources?.[0], `urn:libp2p:peer:${PEER}`);
  strictEqual(validateSiweMessage({ message: read, address: account.address, domain, nonce: fields.nonce, time: issuedAt }), true);
  const issued = issuedAt.getTime() / 1_000;
  const expires = expirationTime.getTime() / 1_000;
  return { ...fields, peer: PEER, issued, expires, text, hash: hashMessage(text), signature: await account.signMessage({ message: text }) };
}

const text = `${JSON.stringify(await Promise.all(Array.from({ length: 12 }, (_, at) => example(at))))}\n`;
if (process.argv[2] === 'write') {
  writeFileSync(path, text);
} else {
  const same = readFileSync(path, 'utf8') === text;
  if (!same) console.error('links.json is not what viem gives. Run `cargo xtask contracts` and commit the file.');
  console.log(same ? '1 passed, 0 failed' : '0 passed, 1 failed');
  process.exit(same ? 0 : 1);
}
