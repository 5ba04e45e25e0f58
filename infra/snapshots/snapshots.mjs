// What the Bicep compiler makes of the templates, as files to review: one
// NAME.snapshot.json for each NAME.bicepparam in this folder.
//
//   node infra/snapshots/snapshots.mjs            compares them with the templates
//   node infra/snapshots/snapshots.mjs --update   records them, for review
//
// Both want the compiler to say nothing, not even a warning. Without a Bicep CLI on
// PATH the comparison is NOT CHECKED; then sources.sha256, which a Go test reads,
// still tells that a template was changed after the snapshots were recorded.

import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const infra = dirname(dirname(fileURLToPath(import.meta.url)));
const update = process.argv.includes('--update');

// Without these the names in a snapshot stay expressions.
const deployment = ['--subscription-id', '11111111-1111-1111-1111-111111111111', '--tenant-id', '22222222-2222-2222-2222-222222222222',
  '--location', 'westeurope', '--deployment-name', 'podwatch'];

async function bicep(...args) {
  const options = { cwd: infra, env: { ...process.env, TEAMS_WEBHOOK_URL: '', AZURE_ENV_NAME: '' } };
  const run = await promisify(execFile)('bicep', args, options).catch((failed) => failed);
  const said = `${run.stdout}${run.stderr}`.trim();
  if (!(run instanceof Error) && said === '') return;
  console.error(`bicep ${args.slice(0, 2).join(' ')}:\n${said}`);
  process.exitCode = 1;
}

// The compiler writes the members of an object in any order.
const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};

const files = (folder, ending) => readdirSync(join(infra, folder)).filter((name) => name.endsWith(ending)).sort().map((name) => join(folder, name));
const checksum = (name) => `${createHash('sha256').update(readFileSync(join(infra, name))).digest('hex')}  ${name}\n`;

try {
  execFileSync('bicep', ['--version'], { stdio: 'ignore' });
} catch {
  console.error('snapshots of the Bicep templates: NOT CHECKED: there is no Bicep CLI on PATH');
  process.exit(update ? 1 : 0);
}
const deployments = files('snapshots', '.bicepparam');
await Promise.all([
  ...['main.bicepparam', 'permissions.bicep'].map((name) => bicep('lint', name)),
  ...deployments.map((name) => bicep('snapshot', name, '--mode', update ? 'overwrite' : 'validate', ...deployment)),
]);
for (const name of update ? deployments : []) {
  const snapshot = join(infra, name.replace(/bicepparam$/, 'snapshot.json'));
  writeFileSync(snapshot, JSON.stringify(sorted(JSON.parse(readFileSync(snapshot, 'utf8'))), null, 2) + '\n');
}
if (update) {
  const sources = [...files('.', '.bicep'), ...files('modules', '.bicep'), 'bicepconfig.json', 'main.bicepparam', 'workbook.json',
    ...files('snapshots', '.bicepparam'), ...files('snapshots', '.snapshot.json')];
  writeFileSync(join(infra, 'snapshots', 'sources.sha256'), sources.map(checksum).join(''));
}
