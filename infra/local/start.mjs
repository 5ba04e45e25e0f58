// Runs `func start` (Azure Functions Core Tools) on a staged app, with storage
// (Azurite) and the Event Hub stand-in. It needs no network, and when func ends
// nothing is left.
//
//   node infra/local/start.mjs APP [PORT]     PORT of the event hub, default 5672
//
// The services are in process groups of their own, so that Ctrl-C reaches func
// alone: it finishes its invocations first. They also end with this process,
// however that ends, because they watch their standard input.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const [app, port = '5672'] = process.argv.slice(2);
const account = { name: 'podwatchlocal', key: randomBytes(64).toString('base64') };
const services = [];
const path = (name) => fileURLToPath(new URL(name, import.meta.url));

// service starts a program of Node.js and returns the first n lines of its output
// that match.
async function service(args, n, match, env = {}) {
  const ours = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^AZURITE_/i.test(name))); // theirs configure Azurite
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: { ...ours, ...env } });
  services.push(child);
  const found = [];
  const said = [];
  child.stderr.on('data', (data) => said.push(data));
  for await (const line of createInterface(child.stdout)) {
    said.push(`${line}\n`);
    const m = match.exec(line);
    if (m) found.push(m[1]);
    if (found.length === n) {
      child.stdout.resume();
      return found;
    }
  }
  throw new Error(`${said.join('').trim()}`);
}

// end leaves nothing behind. The services keep everything in memory.
async function end(code) {
  const alive = services.filter((child) => child.exitCode === null && child.signalCode === null);
  await Promise.all(alive.map((child) => {
    child.removeAllListeners('exit').kill('SIGKILL');
    return once(child, 'exit');
  }));
  process.exit(code);
}

let settings;
try {
  const ports = ['blob', 'queue', 'table'].flatMap((name) => [`--${name}Host`, '127.0.0.1', `--${name}Port`, '0']);
  const azurite = [path('azurite.cjs'), '--silent', '--inMemoryPersistence', '--skipApiVersionCheck', '--disableTelemetry', ...ports];
  const [storage, hub] = await Promise.all([
    service(azurite, 3, /service is successfully listening at (\S+)/, { AZURITE_ACCOUNTS: `${account.name}:${account.key}` }),
    service([path('eventhub.mjs'), '--port', port, '--hub', 'podwatch-logs:4', '--exit-with-stdin'], 1, /^ready (\S+)/),
  ]);
  const [blob, queue, table] = storage.map((address) => `${address}/${account.name}`);
  settings = {
    AzureWebJobsStorage: `DefaultEndpointsProtocol=http;AccountName=${account.name};AccountKey=${account.key};BlobEndpoint=${blob};QueueEndpoint=${queue};TableEndpoint=${table};`,
    EventHub: `Endpoint=sb://${hub[0]};SharedAccessKeyName=any;SharedAccessKey=any;UseDevelopmentEmulator=true`,
  };
} catch (e) {
  console.error(`start: a local service ended: ${e.message}`);
  await end(1);
}
console.error(`The event hub podwatch-logs is at ${settings.EventHub.slice('Endpoint=sb://'.length).split(';')[0]}. To send to it:

  export EventHub='${settings.EventHub}' EVENT_HUB_NAME=podwatch-logs
  bin/podwatch send handler/cmd/podwatch/samples/*.json
`);

// The environment has precedence over local.settings.json.
const func = spawn('func', ['start'], { cwd: app, stdio: 'inherit', env: { ...process.env, ...settings } });
process.on('SIGINT', () => {}); // func has it from the terminal
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => func.kill('SIGTERM'));
for (const child of services) {
  child.on('exit', () => {
    console.error('start: a local service ended');
    func.kill('SIGTERM');
  });
}
func.on('error', (e) => {
  console.error(`start: func: ${e.message}`);
  end(1);
});
func.on('exit', (code) => end(code ?? 1));
