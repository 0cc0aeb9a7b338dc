/** `node limit.js SECONDS PROGRAM ARGS...`: runs a program and stops it when it takes longer; not every system has `timeout`. */
import { spawn } from 'node:child_process';

const [seconds, program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: 'inherit' });
let isLate = false;
const timer = setTimeout(() => {
  isLate = true;
  console.error(`stopped: it took longer than ${seconds} s`);
  child.kill('SIGKILL');
}, Number(seconds) * 1000);
child.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  clearTimeout(timer);
  if (signal && !isLate) console.error(`ended by ${signal}`);
  process.exit(code ?? 1);
});
