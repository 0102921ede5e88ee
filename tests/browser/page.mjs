// What the page must do for a person, in a real browser against a real coordinator: its address is the first
// argument, its process id the second, for the last check ends it. Names of parts after those run only these.
// Prints a line a check and at the end `N passed, N failed`.

import { launch } from './launch.mjs';
import access from './page/access.mjs';
import identity from './page/identity.mjs';
import model from './page/model.mjs';
import program from './page/program.mjs';
import running from './page/running.mjs';
import { Suite } from './page/suite.mjs';
import training from './page/training.mjs';
import trouble from './page/trouble.mjs';

/** In this order: the last part takes the coordinator away. */
const PARTS = { training, identity, running, model, program, access, trouble };

const [url, coordinator, ...only] = process.argv.slice(2);
const browser = await launch();
const suite = new Suite(browser, url, () => process.kill(Number(coordinator), 'SIGKILL'));
for (const [name, part] of Object.entries(PARTS)) {
  if (only.length === 0 || only.includes(name)) await part(suite);
}
await browser.close();
console.log(`${suite.passed} passed, ${suite.failed} failed`);
process.exit(suite.failed > 0 ? 1 : 0);
