// `npm pack` and `npm publish` go through here: a package without prebuilds, or with those of other
// sources, would ask every user for a compiler, or give them another addon than the one it says.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PREBUILT, sourceStamp, stampPath } from './prebuilt.mjs';
import { root } from './toolchain.mjs';

const wanted = sourceStamp();
const problems = PREBUILT.flatMap((platform) => {
  const folder = join(root, 'prebuilds', platform);
  if (!existsSync(folder) || !readdirSync(folder).some((name) => name.endsWith('.node'))) {
    return [`prebuilds/${platform} is missing`];
  }
  const stamp = stampPath(platform);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return [];
  return [`prebuilds/${platform} was built from other sources`];
});
if (problems.length > 0) {
  process.stderr.write(
    `pack: ${problems.join('; ')}. First: npm run prebuild ` +
      '(Debian: apt-get install g++-aarch64-linux-gnu)\n',
  );
  process.exitCode = 1;
}
