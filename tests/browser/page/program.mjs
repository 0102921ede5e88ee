// The page of a program that contributes on this machine: it shows what the program does and controls it, and nobody
// else's page can. TRIBUTARY_PROGRAM names the program, TRIBUTARY_WWW the built page.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { snapshot, until } from '../launch.mjs';
import { audit } from './access.mjs';
import { expect, phase, says, training } from './suite.mjs';

const { TRIBUTARY_PROGRAM: program, TRIBUTARY_WWW: www } = process.env;

/** A running `tributary train` and what it has said. */
class Train {
  events = [];

  constructor(url, state, page) {
    const args = ['train', url, '--device', 'cpu', '--state', state, '--page', page, '--www', www];
    this.child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: this.child.stdout }).on('line', (line) => this.events.push(JSON.parse(line)));
    this.ended = new Promise((resolve) => this.child.on('exit', resolve));
  }

  /** The page's address. */
  async url() {
    const said = () => this.events.find(({ event }) => event === 'page');
    return (await until('the address of the page', 30, async () => said())).url;
  }

  async end(signal = 'SIGINT') {
    this.child.kill(signal);
    return this.ended;
  }
}

/** Runs `body(train, state)` with a program of its own. */
async function withProgram(suite, body) {
  expect(program && www, 'there is no program to see: run it by `cargo xtask test`');
  const state = await mkdtemp(join(tmpdir(), 'tributary-program-'));
  const train = new Train(suite.url, state, '127.0.0.1:0');
  try {
    await body(train, state);
  } finally {
    await train.end('SIGKILL');
    await rm(state, { recursive: true });
  }
}

/** The status of a request with just these headers, which no browser would let a page choose. */
function status(url, { method = 'GET', headers = {}, body = '' }) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers }, (answer) => {
      resolve(answer.statusCode);
      answer.destroy();
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

/** Adds its checks to the suite. */
export default async function checks(suite) {
  await suite.check('the program’s page shows what it does, stops it and starts it', async (page, complaints) => {
    await withProgram(suite, async (train) => {
      await page.goto(await train.url());
      await training(page);
      expect(!page.url().includes('token'), `the token stays in the address: ${page.url()}`);
      expect(!(await page.locator('#consent').isVisible()), 'it asks for consent to what runs already');
      expect(!(await page.locator('#wallet').isVisible()), 'it offers a tab’s wallet');
      await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
      const { me } = await snapshot(page);
      expect(me === train.events.find(({ event }) => event === 'joining').me, `it shows ${me}`);
      await says(page, '#identity-name', me.slice(-8));
      await until('a loss', 60, async () => (await snapshot(page)).losses.length);
      await audit(page, 'program');
      await page.locator('#stop').click();
      await until('idle', 5, async () => (await phase(page)) === 'idle');
      expect(train.child.exitCode === null, 'the program has ended');
      await page.locator('#start').click();
      await training(page);
      await page.locator('#finish').click();
      await until('idle', 60, async () => (await phase(page)) === 'idle');
      const [row] = (await snapshot(page)).rounds;
      expect(['sent', 'accepted', 'credited'].includes(row?.verdict.kind), `the round is ${row?.verdict.kind}`);
      expect((await train.end()) === 0, 'Ctrl-C did not end it well');
      expect(complaints.length === 0, 'it complained');
    });
  });

  await suite.check('the program’s page has the model write, and packs it', async (page) => {
    await withProgram(suite, async (train) => {
      await page.goto(await train.url());
      await training(page);
      await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
      await page.locator('#try-go').click();
      await until('the end of the text', 60, async () => {
        // The page has the program write by itself too, under other names.
        const { answer } = await snapshot(page);
        return answer?.id === 1 && answer.end;
      });
      const [file] = await Promise.all([
        page.waitForEvent('download', { timeout: 30_000 }),
        page.locator('#download').click(),
      ]);
      expect(/^tributary-model-[0-9a-f]{8}\.zip$/.test(file.suggestedFilename()), file.suggestedFilename());
      const { run } = await snapshot(page);
      const { length } = await readFile(await file.path());
      expect(length > 4 * run.params, `${length} bytes for ${run.params} parameters`);
      // Once more: the next archive is another one.
      const [again] = await Promise.all([
        page.waitForEvent('download', { timeout: 30_000 }),
        page.locator('#download').click(),
      ]);
      expect((await readFile(await again.path())).length === length, 'the second is another');
    });
  });

  await suite.check('nobody else’s page controls the program', async (page) => {
    await withProgram(suite, async (train) => {
      const { origin, host, hash } = new URL(await train.url());
      const token = hash.slice('#token='.length);
      const wish = `${origin}/api/own/wish`;
      const good = { host, origin, 'content-type': 'application/json', 'x-tributary-token': token };
      const post = (headers) => status(wish, { method: 'POST', headers, body: '{"kind":"pace","percent":50}' });
      const { origin: _origin, ...anonymous } = good;
      expect((await post(good)) === 204, 'its own page is refused');
      expect((await post({ ...good, 'x-tributary-token': '0'.repeat(32) })) === 403, 'any token is good');
      expect((await post({ ...good, origin: 'https://evil.example' })) === 403, 'any origin is good');
      expect((await post(anonymous)) === 403, 'none is good');
      expect((await post({ ...good, host: 'evil.example' })) === 421, 'any host name is good');
      expect((await post({ ...good, 'content-type': 'text/plain' })) === 415, 'any form is good');
      expect((await status(`${origin}/api/own/snapshots`, { headers: { host } })) === 403, 'anybody sees it');
      expect((await status(`${origin}/`, { headers: { host: 'evil.example' } })) === 421, 'the page has any name');
      // Another site's page in the same browser.
      await page.goto(suite.url);
      const crossed = await page.evaluate(
        ([wish, token]) =>
          fetch(wish, { method: 'POST', headers: { 'x-tributary-token': token }, body: '{"kind":"stop"}' }).then(
            (answer) => answer.status,
            () => 'blocked',
          ),
        [wish, token],
      );
      expect(crossed === 'blocked', `another site's page gets ${crossed}`);
      await page.goto(`${origin}/`);
      await says(page, '#error', /Open the address that .tributary train. prints/);
      await page.goto(await train.url());
      await training(page);
    });
  });

  await suite.check('the program’s page says when it ends, and goes on when it is back', async (page) => {
    await withProgram(suite, async (train, state) => {
      const url = await train.url();
      await page.goto(url);
      await training(page);
      await train.end('SIGKILL');
      await says(page, '#error', /The program does not answer/);
      const again = new Train(suite.url, state, new URL(url).host);
      try {
        expect((await again.url()) === url, 'it has another address');
        await training(page);
        expect(!(await page.locator('#error').isVisible()), 'the trouble stays');
      } finally {
        await again.end('SIGKILL');
      }
    });
  });
}
