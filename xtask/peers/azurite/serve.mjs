// Runs Azurite with an account `account`, whose key is the argument, and a container `files`. Prints one line of JSON
// with the port, and ends at the end of its standard input.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:net';
import { createRequire } from 'node:module';

const key = process.argv[2];
const free = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const port = await free();
const program = createRequire(import.meta.url).resolve('azurite/dist/src/blob/main.js');
const options = ['--blobPort', port, '--inMemoryPersistence', '--silent', '--disableTelemetry', '--skipApiVersionCheck'];
const azurite = spawn(process.execPath, [program, ...options], {
  env: { ...process.env, AZURITE_ACCOUNTS: `account:${key}` },
  stdio: 'ignore',
});
process.stdin.on('end', () => azurite.kill()).resume();
process.on('exit', () => azurite.kill());

// Signs the creation of a container, as in "Authorize with Shared Key".
const date = new Date().toUTCString();
const said = `x-ms-date:${date}\nx-ms-version:2021-12-02`;
const text = `PUT${'\n'.repeat(12)}${said}\n/account/account/files\nrestype:container`;
const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
const headers = { 'x-ms-date': date, 'x-ms-version': '2021-12-02', authorization: `SharedKey account:${signature}` };
const made = async () => {
  for (let left = 300; left > 0; left--) {
    const answer = await fetch(`http://127.0.0.1:${port}/account/files?restype=container`, { method: 'PUT', headers }).catch(() => null);
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
const answer = await made();
if (answer?.status !== 201) {
  console.error(await answer?.text());
  process.exit(1);
}
console.log(JSON.stringify({ port }));
