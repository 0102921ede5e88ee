// A coordinator, a chain and an operator, all real: `tributary serve`, anvil, and `tributary chain …`.

import { execFile, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from '../launch.mjs';

/** viem and the chain are among the contracts' packages. */
const contracts = createRequire(new URL('../../../core/contracts/package.json', import.meta.url));
const { mnemonicToAccount } = contracts('viem/accounts');

/** The accounts that every anvil has. The first is the operator's. */
export const account = (index) => mnemonicToAccount('test test test test test test test test test test test junk', { addressIndex: index });
export const viem = contracts('viem');
export const { parseSiweMessage } = contracts('viem/siwe');
export const { ParsedMessage } = contracts('@signinwithethereum/siwe-parser');

const OPERATOR = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';
const GUARDIAN = '0x7777777777777777777777777777777777777777';
/** Rounds of an epoch, and seconds that a root waits. */
export const ROUNDS = 2;
export const DELAY = 60;
/** Rounds short enough to wait for, credits that are final after two of them. A round ends once its update is in, so a
 * long grace costs little, and a busy machine has the time that it needs. */
const RUN = `name = "Wallet test"
[model]
preset = "tiny"
[inner]
batch = 1
seq = 32
warmup = 2
[round]
seconds = 4
grace = 20
quorum = 1
[check]
settle = 1
hold = 1
`;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class World {
  #children = [];

  constructor({ program, data, anvil, dist, dir }) {
    Object.assign(this, { program, data, anvil, dist, dir });
  }

  async start() {
    await rm(this.dir, { recursive: true, force: true });
    await mkdir(this.dir, { recursive: true });
    await writeFile(join(this.dir, 'run.toml'), RUN);
    const [http, socket, chain] = [await freePort(), await freePort(), await freePort()];
    this.url = `http://127.0.0.1:${http}/`;
    this.rpc = `http://127.0.0.1:${chain}`;
    this.socket = socket;
    this.#spawn('anvil', this.anvil, ['--port', String(chain)]);
    await until('the chain', 30, () => this.chain('eth_chainId').catch(() => undefined));
    await this.serve();
  }

  /** Starts the coordinator, again at the same addresses; `chain`: with the contracts that were deployed. */
  async serve(chain = false) {
    const settings = join(this.dir, 'tributary.toml');
    const table = `[serve.chain]\ndeployment = "chain/chain.json"\nrpc = "${this.rpc}"\nexplorer = "https://explorer.example"\n`;
    await writeFile(settings, chain ? table : '');
    const where = ['--run', join(this.dir, 'run.toml'), '--data', this.data, '--state', join(this.dir, 'coordinator')];
    const listen = [`tcp/${this.socket}/ws`, 'udp/0/webrtc-direct'].flatMap((way) => ['--listen', `/ip4/127.0.0.1/${way}`]);
    const args = ['--config', settings, 'serve', ...where, '--http', new URL(this.url).host, '--www', this.dist, ...listen];
    this.coordinator = this.#spawn('serve', this.program, args);
    await until('the coordinator', 120, () => this.get('run.json').catch(() => undefined));
  }

  async stopServing() {
    const ended = new Promise((resolve) => this.coordinator.once('exit', resolve));
    this.coordinator.kill('SIGINT');
    await ended;
  }

  #spawn(name, program, args) {
    const env = { ...process.env, TRIBUTARY_LOG: 'info' };
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const log = createWriteStream(join(this.dir, `${name}.log`), { flags: 'a' });
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    this.#children.push(child);
    return child;
  }

  /** The last lines of what a program wrote. */
  said = async (name, lines) => (await readFile(join(this.dir, `${name}.log`), 'utf8')).trimEnd().split('\n').slice(-lines);

  stop() {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  async get(path, body) {
    const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const response = await fetch(`${this.url}${path}`, body && post);
    const found = await response.json();
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(found)}`);
    return found;
  }

  /** Asks the node; its errors are errors with their code. */
  async chain(method, ...params) {
    const request = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const response = await fetch(this.rpc, { method: 'POST', headers: { 'content-type': 'application/json' }, body: request });
    const { result, error } = await response.json();
    if (error) throw Object.assign(new Error(error.message), { code: error.code });
    return result;
  }

  async mine(seconds = 0) {
    await this.chain('evm_increaseTime', seconds);
    await this.chain('evm_mine');
  }

  /** `tributary chain …`, as the operator. */
  async operate(...args) {
    const { stdout } = await promisify(execFile)(this.program, ['chain', ...args], { env: this.#operator(), timeout: 60_000 });
    return stdout;
  }

  /** The same, killed as soon as the node has what it sent, with no block made and nothing recorded. */
  async operateAndKill(...args) {
    await this.chain('evm_setAutomine', false);
    const child = spawn(this.program, ['chain', ...args], { env: this.#operator(), stdio: 'ignore' });
    const sent = async () => Number((await this.chain('txpool_status')).pending);
    await until('a transaction', 60, async () => (await sent()) > 0);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    await this.chain('evm_mine');
    await this.chain('evm_setAutomine', true);
  }

  #operator = () => ({ ...process.env, TRIBUTARY_CHAIN_KEY: OPERATOR, TRIBUTARY_CHAIN_RPC: this.rpc, TRIBUTARY_CHAIN_STATE: join(this.dir, 'chain') });

  async deploy() {
    const terms = { guardian: GUARDIAN, rounds: ROUNDS, period: 1, delay: DELAY };
    await this.operate('deploy', this.url, ...Object.entries(terms).flatMap(([name, value]) => [`--${name}`, String(value)]));
    this.deployed = JSON.parse(await readFile(join(this.dir, 'chain/chain.json'), 'utf8'));
  }

  /** Submits until every epoch that has closed is on the chain; gives the last list: what each wallet has earned. */
  async submit() {
    const list = join(this.dir, 'list.csv');
    for (;;) {
      // A second is the epochs' period; a call's block is the next.
      await this.mine(2);
      const said = await this.operate('submit', this.url, '--list', list).catch((error) => {
        if (/no epoch has closed/.test(error.stderr)) return '{}';
        throw new Error(error.stderr);
      });
      if (!JSON.parse(said).transaction) break;
    }
    const rows = (await readFile(list, 'utf8')).split('\n').filter(Boolean);
    return new Map(rows.map((row) => row.split(',')).map(([wallet, sum]) => [wallet, BigInt(sum)]));
  }

  /** A number that a contract gives. */
  async read(contract, signature, ...args) {
    const abi = viem.parseAbi([`function ${signature}`]);
    const data = viem.encodeFunctionData({ abi, args });
    return BigInt(await this.chain('eth_call', { to: contract, data }, 'latest'));
  }
}
