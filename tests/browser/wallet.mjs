// Wallets from end to end, in a real browser: train, earn, link, close an epoch, submit its root, claim, and what goes
// wrong on the way. Arguments: the program, the data, anvil, the built page and a folder. Prints a line a check and at the
// end `N passed, N failed`. SCREENS names a folder for pictures of every state.

import { launch } from './launch.mjs';
import { Suite } from './page/suite.mjs';
import link from './wallet/link.mjs';
import claim from './wallet/claim.mjs';
import relink from './wallet/relink.mjs';
import { Stage } from './wallet/stage.mjs';
import { World } from './wallet/world.mjs';

const [program, data, anvil, dist, dir] = process.argv.slice(2);
const world = new World({ program, data, anvil, dist, dir });
for (const signal of ['exit', 'SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    world.stop();
    if (signal !== 'exit') process.exit(1);
  });
}
await world.start();
const browser = await launch();
const suite = new Suite(browser, world.url);
const stage = await Stage.open(browser, world, suite);
for (const part of [link, claim, relink]) await part(stage);
await browser.close();
world.stop();
console.log(`${suite.passed} passed, ${suite.failed} failed`);
process.exit(suite.failed > 0 ? 1 : 0);
