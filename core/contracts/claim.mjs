// An independent reader: recomputes a payout from a published log and claims it. It uses public packages only and none
// of Tributary's code: node claim.mjs LOG RPC DISTRIBUTOR ACCOUNT, with the key that pays for gas in CLAIM_KEY.
import { readFileSync } from 'node:fs';
import { StandardMerkleTree } from '@openzeppelin/merkle-tree';
import { createWalletClient, getAddress, http, parseAbi, publicActions, recoverMessageAddress, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const [file, rpc, distributor, account] = process.argv.slice(2);
const log = readFileSync(file);

/** The reason for which only what nothing speaks for is lost. */
const MISSING = 14n;

/** Reads postcard: numbers of seven bits a byte, arrays as they are, texts and lists after their lengths. */
function reader(bytes, at = 0) {
  const number = () => {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      value |= BigInt(bytes[at] & 127) << shift;
      if (bytes[at++] < 128) return value;
    }
  };
  const take = (length) => bytes.subarray(at, (at += Number(length)));
  return { number, take, key: () => take(32).toString('hex'), list: () => take(number()) };
}

const newest = (of, round) => of.filter((one) => one.from <= round).at(-1);
const of = (map, who, empty) => map.get(who) ?? map.set(who, empty()).get(who);
const [links, held, finals, passed, assigned, sums] = Array.from({ length: 6 }, () => new Map());
const client = createWalletClient({ account: privateKeyToAccount(process.env.CLAIM_KEY), transport: http(rpc) }).extend(publicActions);
const abi = parseAbi([
  'function rounds() view returns (uint64)', 'function next() view returns (uint64)',
  'function epochs(uint64) view returns ((bytes32 root, bytes32 log, bytes32 data, uint128 total, uint64 countsFrom, bool vetoed))',
  'function claim(uint64 number, address account, uint256 cumulative, bytes32[] proof) returns (uint256)',
]);
const read = (functionName, args = []) => client.readContract({ address: distributor, abi, functionName, args });
const [chain, perEpoch, next] = [BigInt(await client.getChainId()), await read('rounds'), await read('next')];
let hold, relink, round, tree, peer;

/** A contributor names a wallet: the first counts at once, another when the one before signed or after the wait. */
async function link(who, wallet, proof) {
  const message = proof.list().toString();
  [peer] = message.match(/[^:]+$/);
  proof.list();
  const kind = proof.number();
  if (kind < 2n) proof.list();
  if (kind === 1n) proof.number();
  const handed = `I let the Tributary earnings of ${peer} go to ${wallet} from now on.\n\n${message.match(/Nonce: \w+/)[0]}`;
  const known = of(links, who, () => []).filter((one) => one.from <= round + 1n);
  const before = newest(known, round + 1n)?.wallet;
  const by = proof.number() ? await recoverMessageAddress({ message: handed, signature: toHex(proof.list()) }) : undefined;
  const from = !before ? 0n : before === wallet || before === by ? round + 1n : round + 1n + relink;
  links.set(who, [...known, { from, wallet }]);
}

/** What is final when a round has settled becomes the wallets' at an epoch's end. */
function settle() {
  for (const [who, payments] of held) {
    const safe = payments.filter((one) => one.round + hold <= round);
    finals.set(who, safe.reduce((sum, one) => sum + one.amount, finals.get(who) ?? 0n));
    held.set(who, payments.filter((one) => one.round + hold > round));
  }
  if ((round + 1n) % perEpoch || (round + 1n) / perEpoch > next) return;
  for (const [who, sum] of finals) {
    const wallet = newest(links.get(who) ?? [], round + 1n - perEpoch)?.wallet;
    if (!wallet || sum === (assigned.get(who) ?? 0n)) continue;
    sums.set(wallet, (sums.get(wallet) ?? 0n) + sum - (assigned.get(who) ?? 0n));
    assigned.set(who, sum);
  }
  const leaves = [...sums].map(([wallet, sum]) => [chain, distributor, wallet, sum]);
  if (leaves.length) tree = StandardMerkleTree.of(leaves, ['uint256', 'address', 'address', 'uint256']);
}

// A saved log: the signed checkpoint, then each entry, every one with its length in four bytes before it.
for (let at = 4 + log.readUInt32LE(0); at < log.length; ) {
  const length = log.readUInt32LE(at);
  const entry = reader(log.subarray(at + 4, (at += 4 + length)), 1);
  const kind = Number(entry.number());
  if (kind === 0) [, , , , , hold, relink] = [entry.key(), entry.key(), ...Array.from({ length: 5 }, entry.number)];
  if (kind === 1) round = entry.number();
  if (kind === 2) await link(entry.key(), getAddress(toHex(entry.take(20))), reader(entry.list()));
  if (kind === 5) {
    const [origin, who] = [entry.number(), entry.key(), entry.key(), entry.number()];
    if (entry.number() === 0n && origin > (passed.get(who) ?? -1n)) passed.set(who, origin);
  }
  if (kind === 6) {
    const [who, , code] = [entry.key(), entry.number(), entry.number()];
    const kept = code === MISSING ? passed.get(who) ?? -1n : -1n;
    held.set(who, of(held, who, () => []).filter((one) => one.round <= kept));
  }
  if (kind === 7) {
    const [of_, who, , , amount] = [entry.number(), entry.key(), entry.number(), entry.number(), entry.number()];
    of(held, who, () => []).push({ round: of_, amount });
  }
  if (kind === 8) settle();
}

const epoch = await read('epochs', [next - 1n]);
if (epoch.root !== tree?.root) throw new Error(`the chain says ${epoch.root} and the log gives ${tree?.root}`);
const [index, [, , , sum]] = [...tree.entries()].find(([, leaf]) => leaf[2] === account);
const claim = { address: distributor, abi, functionName: 'claim', args: [next - 1n, account, sum, tree.getProof(index)], chain: null };
const receipt = await client.waitForTransactionReceipt({ hash: await client.writeContract(claim) });
console.log(`${receipt.status}: ${account} has earned ${sum} in all`);
