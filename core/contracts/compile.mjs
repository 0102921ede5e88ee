// Compiles the contracts: `node compile.mjs write` into compiled/, `node compile.mjs check` compares with what is there.
//
// Enters: solidity/*.sol and the contracts they import from node_modules. Leaves: one small JSON file a contract with
// its interface and its bytecode, and no word on where or when it was made. Refuses: warnings, like errors.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const solc = createRequire(import.meta.url)('solc');
const here = import.meta.dirname;

/** What the compiler is told; the oldest rules of the chain that OpenZeppelin 5 needs. */
const SETTINGS = {
  evmVersion: 'cancun',
  optimizer: { enabled: true, runs: 1000 },
  metadata: { appendCBOR: false, bytecodeHash: 'none' },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
};

/** Contracts that are kept, and where. */
const KEPT = [
  { folder: 'solidity', into: 'compiled' },
  { folder: '../../tests/contracts/solidity', into: '../../tests/contracts/compiled' },
];

function compile(folder) {
  const names = readdirSync(join(here, folder)).filter((name) => name.endsWith('.sol'));
  const sources = Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(here, folder, name), 'utf8') }]));
  const input = { language: 'Solidity', sources, settings: SETTINGS };
  const find = (path) => ({ contents: readFileSync(join(here, 'node_modules', path), 'utf8') });
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
  if (output.errors?.length) throw new Error(output.errors.map((error) => error.formattedMessage).join('\n'));
  return names.map((file) => {
    const name = file.replace('.sol', '');
    const { abi, evm } = output.contracts[file][name];
    return [`${name}.json`, `${JSON.stringify({ compiler: solc.version(), abi, bytecode: `0x${evm.bytecode.object}` })}\n`];
  });
}

let failed = 0;
let passed = 0;
for (const { folder, into } of KEPT) {
  for (const [file, text] of compile(folder)) {
    const path = join(here, into, file);
    if (process.argv[2] === 'write') {
      writeFileSync(path, text);
    } else if (readFileSync(path, 'utf8') === text) {
      passed += 1;
    } else {
      failed += 1;
      console.error(`${file} is not what its source compiles to. Run \`cargo xtask contracts\` and commit the file.`);
    }
  }
}
if (process.argv[2] !== 'write') console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
