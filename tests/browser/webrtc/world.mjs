// What the WebRTC tests and benches meet in: a relay whose bytes are counted, peers in tabs and as
// processes, and a page for the tabs. `new World(settings)` with the native peer's program and the folder of
// its wasm module.

import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer as createHttp } from 'node:http';
import { connect, createServer as createTcp } from 'node:net';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { launch, until } from '../launch.mjs';

const TYPES = { '.js': 'text/javascript', '.wasm': 'application/wasm' };

const listening = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));

/** A line of JSON at a time from a process. */
function lines(child) {
  const waiting = [];
  const here = [];
  createInterface({ input: child.stdout }).on('line', (line) => (waiting.length > 0 ? waiting.shift()(line) : here.push(line)));
  child.on('exit', () => waiting.splice(0).forEach((resolve) => resolve('{"error":"the process has ended"}')));
  return async () => JSON.parse(here.length > 0 ? here.shift() : await new Promise((resolve) => waiting.push(resolve)));
}

/** A relay behind a proxy that counts what it carries. */
class Relay {
  /** Bytes both ways since the start, of everything that goes over the relay. */
  bytes = 0;

  static async start(program) {
    const relay = new Relay();
    const sockets = new Set();
    let port;
    relay.proxy = createTcp((from) => {
      const to = connect(port, '127.0.0.1');
      for (const [socket, other] of [[from, to], [to, from]]) {
        sockets.add(socket);
        socket.on('data', (data) => (relay.bytes += data.length));
        socket.on('error', () => other.destroy());
        socket.on('close', () => sockets.delete(socket));
        socket.pipe(other);
      }
    });
    const outside = `/ip4/127.0.0.1/tcp/${await listening(relay.proxy)}/ws`;
    relay.child = spawn(program, ['relay', outside], { stdio: ['ignore', 'pipe', 'ignore'] });
    const { addr, id } = await lines(relay.child)();
    port = Number(addr.split('/')[4]);
    relay.addr = `${outside}/p2p/${id}`;
    relay.stop = () => {
      relay.child.kill('SIGKILL');
      relay.proxy.close();
      for (const socket of sockets) socket.destroy();
    };
    return relay;
  }
}

/** A peer in a tab of its own browser profile, and so in a process of its own. */
class Tab {
  constructor(context, page) {
    Object.assign(this, { context, page });
  }

  static async open(browser, url, kind) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const tab = new Tab(context, page);
    tab.said = [];
    page.on('console', (message) => tab.said.push(message.text()));
    page.on('pageerror', (error) => tab.said.push(String(error)));
    await page.goto(url);
    await page.evaluate((kind) => window.make(kind), kind);
    return tab;
  }

  run(command) {
    return this.page.evaluate((command) => window.run(command), command);
  }

  stop() {
    return this.context.close();
  }
}

/** A native peer. */
class Native {
  said = [];

  constructor(program) {
    this.child = spawn(program, ['peer'], { stdio: ['pipe', 'pipe', 'pipe'] });
    createInterface({ input: this.child.stderr }).on('line', (line) => this.said.push(line));
    this.read = lines(this.child);
  }

  async run(command) {
    this.child.stdin.write(`${JSON.stringify(command)}\n`);
    const { ok, error } = await this.read();
    if (error !== undefined) throw new Error(error);
    return ok;
  }

  stop() {
    this.child.kill('SIGKILL');
  }
}

/** The page's server and what was started in it. */
export class World {
  #started = [];

  static async open({ program, wasm }, flags = []) {
    const world = new World();
    const page = await build({
      entryPoints: [fileURLToPath(new URL('page.js', import.meta.url))],
      bundle: true,
      write: false,
      format: 'esm',
      external: ['/wasm/*'],
      logLevel: 'error',
    });
    const files = new Map([['/page.js', page.outputFiles[0].contents]]);
    world.server = createHttp(async ({ url }, response) => {
      const name = /^\/wasm\/(\w+\.(js|wasm))$/.exec(url)?.[1];
      const body = name && wasm ? await readFile(join(wasm, name)).catch(() => undefined) : files.get(url);
      response.setHeader('content-type', TYPES[extname(url)] ?? 'text/html');
      response.end(body ?? '<!doctype html><script type="module" src="/page.js"></script>');
    });
    world.url = `http://127.0.0.1:${await listening(world.server)}/`;
    world.program = program;
    world.browser = await launch(flags);
    return world;
  }

  /** A peer: `js`, `wasm` or `native`; or `raw`, half of a bare data channel pair. */
  async peer(kind) {
    const peer =
      kind === 'native'
        ? new Native(this.program)
        : await Tab.open(this.browser, this.url, kind === 'wasm' ? 'rust' : kind);
    this.#started.push(peer);
    peer.kind = kind;
    return peer;
  }

  async relay() {
    const relay = await Relay.start(this.program);
    this.#started.push(relay);
    return relay;
  }

  /** Two peers, the first having dialled the second over a relay, with nothing but the direct connection left. */
  async pair(dialler, listener) {
    const relay = await this.relay();
    const [a, b] = [await this.peer(dialler), await this.peer(listener)];
    const addr = await b.run({ verb: 'listen', relay: relay.addr });
    [a.id, b.id] = [await a.run({ verb: 'id' }), await b.run({ verb: 'id' })];
    await a.run({ verb: 'dial', to: addr });
    const direct = async () => (await b.run({ verb: 'paths', peer: a.id })).includes('direct');
    await until('the direct connection at its other end', 15, direct);
    // Streams would as well be opened on the relayed connection, which is for signalling alone.
    await a.run({ verb: 'shed', peer: b.id });
    await b.run({ verb: 'shed', peer: a.id });
    return { a, b, relay };
  }

  /** Ends the peers and relays, not the browser. */
  async clear() {
    await Promise.all(this.#started.splice(0).map((one) => one.stop()));
  }

  async close() {
    await this.clear();
    await this.browser.close();
    this.server.close();
  }
}
