// Keeps a picture of every page in every state, in both sizes and languages: npm run screenshots -- FOLDER
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';

const [folder, ...rest] = process.argv.slice(2);
if (!folder) {
  console.error('Where to? npm run screenshots -- FOLDER [arguments of playwright test]');
  process.exit(64);
}
const { status } = spawnSync('npx', ['playwright', 'test', 'states', ...rest], {
  stdio: 'inherit',
  env: { ...process.env, SCREENSHOTS: resolve(folder) },
});
process.exit(status ?? 1);
