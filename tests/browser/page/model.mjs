// Trying the model: it writes while the tab trains and while it does not, is stopped, and leaves as a file; and its text
// is that of the program and of Hugging Face transformers on the same weights.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { snapshot, start, until } from '../launch.mjs';
import { audit } from './access.mjs';
import { expect, phase, says, training } from './suite.mjs';

const run = promisify(execFile);

/** What is written on from. Short, for the page's test has a model that reads 256 bytes. */
const PROMPT = 'It was a fine morning, and ';
/** What `cargo xtask` tells: the program, the coordinator's state folder, and a Python with transformers, without which
 * there is less to compare with. A run in CI must not pass over that. */
const { TRIBUTARY_PROGRAM: program, TRIBUTARY_WORLD: state, TRIBUTARY_PYTHON: python, CI } = process.env;

const answer = async (page) => (await snapshot(page))?.answer;
const ended = (page, seconds = 60) => until('the end of the text', seconds, async () => (await answer(page))?.end);

/** Goes to where the slider is least, and so many steps up. */
async function slide(page, id, steps) {
  await page.locator(id).focus();
  await page.keyboard.press('Home');
  for (let press = 0; press < steps; press += 1) await page.keyboard.press('ArrowRight');
}

/** Types a prompt and has the model write on. */
async function write(page, { length = 1, temperature = 0 } = {}) {
  await page.locator('#try-prompt').fill(PROMPT);
  await slide(page, '#try-length', length);
  await slide(page, '#try-temperature', temperature);
  await page.locator('#try-go').click();
}

/** Starts, and waits for the first step: by then there is a model. The page is told that nobody looks, so that it writes
 * nothing by itself. */
async function begin(page, suite) {
  await page.addInitScript(() => Object.defineProperty(document, 'hidden', { value: true }));
  await page.goto(`${suite.url}?device=cpu`);
  expect(await page.locator('#try-go').isDisabled(), 'it writes without a model');
  await start(page);
  await training(page);
  await until('tokens', 60, async () => (await snapshot(page)).tokens > 0);
}

/** Presses the button, and gives the file's name and bytes. */
async function download(page) {
  const [file] = await Promise.all([
    page.waitForEvent('download', { timeout: 30_000 }),
    page.locator('#download').click(),
  ]);
  return { name: file.suggestedFilename(), path: await file.path(), bytes: await readFile(await file.path()) };
}

/** Adds its checks to the suite. */
export default async function checks(suite) {
  await suite.check('the model writes while the tab trains, and says how fast', async (page, complaints) => {
    await begin(page, suite);
    const { tokens, tokens_per_s: before } = await snapshot(page);
    await write(page, { length: 9, temperature: 8 });
    const some = await until('some text', 60, async () => {
      const now = await answer(page);
      return now?.text && now.end === undefined && now;
    });
    await says(page, '#try-rate', /tokens a second, while it trains/);
    await until('more text', 60, async () => (await answer(page)).text.length > some.text.length);
    await ended(page);
    expect((await snapshot(page)).tokens > tokens, 'training stood still');
    expect((await phase(page)) === 'training', `it is ${await phase(page)}`);
    const { text, tokens_per_s: rate } = await answer(page);
    const shown = await until('all of it on the page', 5, async () => {
      const shown = await page.locator('#try-text').textContent();
      return shown === text && shown;
    });
    expect(shown.startsWith(some.text), 'it began again');
    const { tokens_per_s: beside } = await snapshot(page);
    console.log(
      `       ${rate.toFixed(1)} tokens/s while it trained, at ${beside.toFixed(0)} tokens/s, ${before.toFixed(0)} before`,
    );
    await audit(page, 'written');
    expect(complaints.length === 0, 'it complained');
  });

  await suite.check('writing is stopped by its button, by keyboard too, and training goes on', async (page) => {
    await begin(page, suite);
    await write(page, { length: 49, temperature: 15 });
    await page.locator('#try-stop:visible').waitFor({ timeout: 5_000 });
    const focus = await page.evaluate(() => document.activeElement?.id);
    expect(focus === 'try-stop', `the focus is at ${focus}`);
    await page.keyboard.press('Enter');
    const end = await ended(page, 15);
    // At this temperature it may have ended the text itself.
    expect(end === 'stopped' || end === 'text', `it ended by ${JSON.stringify(end)}`);
    await page.locator('#try-go:visible').waitFor({ timeout: 5_000 });
    const { tokens } = await snapshot(page);
    await until('more tokens', 60, async () => (await snapshot(page)).tokens > tokens);
  });

  await suite.check('without training it writes too, and what it cannot do is said', async (page) => {
    await begin(page, suite);
    await page.locator('#stop').click();
    await until('idle', 5, async () => (await phase(page)) === 'idle');
    await write(page, { length: 4 });
    await ended(page);
    await says(page, '#try-rate', /tokens a second, without training/);
    const { text, tokens_per_s: rate } = await answer(page);
    console.log(`       ${rate.toFixed(1)} tokens/s without training`);
    await write(page, { length: 4 });
    await until('the same again', 30, async () => {
      const again = await answer(page);
      return again.id === 2 && again.end !== undefined && again.text === text;
    });
    await page.locator('#try-prompt').fill('');
    await page.locator('#try-go').click();
    await says(page, '#try-end', /no text to go on from/);
    await page.locator('#try-prompt').fill('x'.repeat(400));
    await page.locator('#try-go').click();
    await says(page, '#try-end', /400 bytes.*Shorten/);
    await audit(page, 'not-written');
  });

  await suite.check('the model is downloaded as one archive while the tab trains', async (page) => {
    await begin(page, suite);
    const { tokens } = await snapshot(page);
    const { name, bytes } = await download(page);
    expect(/^tributary-model-[0-9a-f]{8}\.zip$/.test(name), name);
    for (const file of ['model.safetensors', 'config.json', 'tokenizer.json']) {
      expect(bytes.includes(`${name.replace('.zip', '')}/${file}`), `it lacks ${file}`);
    }
    const { run } = await snapshot(page);
    expect(bytes.length > 4 * run.params, `${bytes.length} bytes for ${run.params} parameters`);
    await says(page, '#download-state', /Saved as tributary-model-/);
    await until('more tokens', 60, async () => (await snapshot(page)).tokens > tokens);
  });

  await suite.check('its text is that of the program and of transformers on the same weights', async (page) => {
    expect(program && state && (python || !CI), 'there is nothing to compare with: run it by `cargo xtask test`');
    await begin(page, suite);
    // In the midst of a round and with nothing sent: no round folds any more, so the tab's weights stay the newest.
    await until('the midst of a round', 60, async () => {
      const { round, rounds } = await snapshot(page);
      const sent = rounds.some((row) => ['sent', 'accepted'].includes(row.verdict.kind));
      return !sent && round?.left_ms > 4_000 && round.left_ms < 8_000;
    });
    await page.locator('#stop').click();
    await until('idle', 5, async () => (await phase(page)) === 'idle');
    await write(page, { length: 4 });
    await ended(page);
    const ours = await answer(page);
    const asked = Number(await page.locator('#try-length').inputValue());
    const { path } = await download(page);
    const options = ['--prompt', PROMPT, '--temperature', '0', '--tokens', String(asked), '--device', 'cpu'];
    const { stdout } = await run(program, ['model', 'generate', '--state', state, ...options]);
    const theirs = JSON.parse(stdout);
    expect(theirs.state === ours.state, `the program has weights ${theirs.state}, the tab ${ours.state}`);
    expect(theirs.text === ours.text, `the program wrote ${JSON.stringify(theirs.text)}, the tab ${JSON.stringify(ours.text)}`);
    if (!python) return console.log('       transformers are not there, so their text was not compared');
    const folder = await mkdtemp(join(tmpdir(), 'tributary-texts-'));
    try {
      const texts = join(folder, 'texts.json');
      await writeFile(texts, JSON.stringify([{ prompt: PROMPT, text: ours.text, asked }]));
      const script = new URL('../../python/generate.py', import.meta.url).pathname;
      const { stdout } = await run(python, [script, path, texts]);
      console.log(`       ${stdout.trim()}`);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  await suite.check('models go on from the same lines while somebody looks, and what they wrote is kept', async (page) => {
    await page.goto(`${suite.url}?device=cpu`);
    await page.locator('#samples-empty:visible').waitFor();
    await start(page);
    const sample = page.locator('#samples-list li').first();
    await sample.waitFor({ timeout: 120_000 });
    const text = await sample.textContent();
    expect(/^Round \d+It was a fine morning, and .{20,}The king said to his .{20,}/s.test(text), `it shows ${text}`);
    // A person's own text comes first, and does not take the sample's place.
    await write(page);
    await until('the end of the text', 60, async () => (await answer(page))?.id === 1 && (await answer(page)).end);
    await page.reload();
    await sample.waitFor();
    expect((await page.locator('#samples-list').textContent()).includes(text), 'it was not kept');
    await page.locator('#visits-forget').click();
    await page.locator('#samples-empty:visible').waitFor();
  });
}
