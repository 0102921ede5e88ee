// An independent reader: recomputes a payout from a published log and claims it. It uses public packages only and none
// of Tributary's code: node claim.mjs LOG RPC DISTRIBUTOR ACCOUNT, with the key that pays for gas in CLAIM_KEY.
import { readFileSync } from 'node:fs';
import { StandardMerkleTree } from '@openzeppelin/merkle-tree';
import { createWalletClient, getAddress, http, parseAbi, publicActions, recoverMessageAddress, toHex } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const [file, rpc, address, account] = process.argv.slice(2);
const client = createWalletClient({ account: privateKeyToAccount(process.env.CLAIM_KEY), transport: http(rpc) }).extend(publicActions);
const abi = parseAbi([
  'function rounds() view returns (uint64)', 'function next() view returns (uint64)',
  'function epochs(uint64) view returns ((bytes32 root, bytes32 log, bytes32 data, uint128 total, uint64 countsFrom, bool vetoed))',
  'function claim(uint64 number, address account, uint256 cumulative, bytes32[] proof) returns (uint256)',
]);
const read = (functionName, ...args) => client.readContract({ address, abi, functionName, args });
const [chain, rounds, next] = [BigInt(await client.getChainId()), await read('rounds'), await read('next')];

// The log is postcard: numbers of seven bits a byte, arrays as they are, texts and lists after their lengths.
const log = readFileSync(file);
let [at, end, hold, relink, round, tree] = [];
const number = () => (log[at] < 128 ? BigInt(log[at++]) : BigInt(log[at++] & 127) + 128n * number());
const take = (length) => log.subarray(at, (at += Number(length)));
const list = () => take(number());

const [peers, sums] = [{}, {}];
const peer = (who) => (peers[who] ??= { links: [], held: [], final: 0n, passed: -1n, assigned: 0n });
const newest = (links, until) => links.filter((one) => one.from <= until).at(-1)?.wallet;

/** A contributor names a wallet: the first counts at once, another when the one before signed or after the wait. */
async function link(one, wallet) {
  const [, message, , kind] = [number(), `${list()}`, list(), number()];
  // What the wallet signed: it, or a contract at a block, or nothing.
  if (kind < 2n) list();
  if (kind === 1n) number();
  const handed = `I let the Tributary earnings of ${message.match(/[^:]+$/)} go to ${wallet} from now on.\n\n${message.match(/Nonce: \w+/)}`;
  const by = number() ? await recoverMessageAddress({ message: handed, signature: toHex(list()) }) : undefined;
  const before = newest(one.links, round + 1n);
  const from = !before ? 0n : round + 1n + (before === wallet || before === by ? 0n : relink);
  one.links = [...one.links.filter((known) => known.from <= round + 1n), { from, wallet }];
}

/** A round has settled: what is final by now becomes the wallets' if an epoch ends with it. */
function settle() {
  const closes = (round + 1n) % rounds === 0n && (round + 1n) / rounds <= next;
  for (const one of Object.values(peers)) {
    for (const paid of one.held) if (paid.of + hold <= round) one.final += paid.amount;
    one.held = one.held.filter((paid) => paid.of + hold > round);
    const wallet = newest(one.links, round + 1n - rounds);
    if (!closes || !wallet || one.final === one.assigned) continue;
    sums[wallet] = (sums[wallet] ?? 0n) + one.final - one.assigned;
    one.assigned = one.final;
  }
  const leaves = Object.entries(sums).map(([wallet, sum]) => [chain, address, wallet, sum]);
  if (closes && leaves.length) tree = StandardMerkleTree.of(leaves, ['uint256', 'address', 'address', 'uint256']);
}

// An entry's parts (numbers, hashes, peers, addresses) and what it changes; those of no account here are left out. Where
// only an answer is wanting (14), nothing is lost up to the last work that was done again and found the same (0).
const parts = { n: number, h: () => take(32), p: () => peer(take(32).toString('hex')), a: () => getAddress(toHex(take(20))) };
const entries = {
  0: ['hhnnnnn', (...run) => ([hold, relink] = run.slice(5))],
  1: ['n', (opened) => (round = opened)],
  2: ['pa', link],
  5: ['nphnn', (of, one, _, __, found) => found === 0n && of > one.passed && (one.passed = of)],
  6: ['pnn', (one, _, why) => (one.held = one.held.filter(({ of }) => why === 14n && of <= one.passed))],
  7: ['npnnn', (of, one, _, __, amount) => one.held.push({ of, amount })],
  8: ['', settle],
};

// The signed checkpoint, then each entry, every one with its length in four bytes before it and a version first.
for (at = 4 + log.readUInt32LE(0); at < log.length; at = end) {
  end = at + 4 + log.readUInt32LE(at);
  at += 5;
  const [shape, change] = entries[number()] ?? [''];
  await change?.(...[...shape].map((part) => parts[part]()));
}

const { root } = await read('epochs', next - 1n);
if (root !== tree?.root) throw new Error(`the chain says ${root} and the log gives ${tree?.root}`);
const [index, [, , , sum]] = [...tree.entries()].find(([, leaf]) => leaf[2] === account);
const claim = { address, abi, functionName: 'claim', args: [next - 1n, account, sum, tree.getProof(index)], chain: null };
const { status } = await client.waitForTransactionReceipt({ hash: await client.writeContract(claim) });
console.log(`${status}: ${account} has earned ${sum} in all`);
