#!/usr/bin/env node
import { run } from './run.js';

// Our warnings are for users: sentences without the name of the process and Node's hints.
const others = process.listeners('warning');
if (others.length > 0) {
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    if (warning.name === 'AzulejoWarning') process.stderr.write(`${warning.message}\n`);
    else for (const listener of others) listener(warning);
  });
}

process.exitCode = await run(process.argv.slice(2));
