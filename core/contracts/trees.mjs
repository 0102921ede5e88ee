// Payout trees as OpenZeppelin's package makes them, for the ledger's tests: `node trees.mjs write`, `node trees.mjs check`.
//
// Leaves: core/ledger/tests/trees.json, the same each time: what is random is drawn from a hash of a counter.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StandardMerkleTree } from '@openzeppelin/merkle-tree';
import { getAddress, keccak256, toHex } from 'viem';

const path = join(import.meta.dirname, '../ledger/tests/trees.json');
const TYPES = ['uint256', 'address', 'address', 'uint256'];
const MOST = 2n ** 64n - 1n;

let drawn = 0;
const draw = () => keccak256(toHex(`tree ${drawn++}`));
const address = () => getAddress(`0x${draw().slice(2, 42)}`);

function tree(size) {
  const chain = BigInt(`0x${draw().slice(2, 10)}`);
  const contract = address();
  // Sums of one to eight bytes; all together must fit eight.
  const sums = Array.from({ length: size }, () => (BigInt(draw()) & MOST) / BigInt(size) >> (BigInt(draw()) % 64n));
  const payouts = sums.map((sum) => [address(), sum]);
  const made = StandardMerkleTree.of(payouts.map(([wallet, sum]) => [chain, contract, wallet, sum]), TYPES);
  const leaves = payouts.map(([wallet, sum], index) => ({ wallet, sum: `${sum}`, proof: made.getProof(index) }));
  return { chain: Number(chain), contract, root: made.root, leaves };
}

const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33];
const text = `${JSON.stringify(sizes.map(tree))}\n`;
if (process.argv[2] === 'write') {
  writeFileSync(path, text);
} else {
  const same = readFileSync(path, 'utf8') === text;
  if (!same) console.error('trees.json is not what the package gives. Run `cargo xtask contracts` and commit the file.');
  console.log(same ? '1 passed, 0 failed' : '0 passed, 1 failed');
  process.exit(same ? 0 : 1);
}
