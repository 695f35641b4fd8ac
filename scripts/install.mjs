// npm's install step in the package: takes the prebuilt addon where one loads, and builds one where
// a compiler is there. Otherwise its last line says what to install.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { headersPrefix, missingForNativeBuild, root } from './toolchain.mjs';

const NO_HEADERS = /Node's headers/;
const require = createRequire(import.meta.url);

/** Whether the addon loads: in a process of its own, since one that does not fit may end it. */
function loads() {
  if (process.env.npm_config_build_from_source === 'true') return false;
  const program = `require(${JSON.stringify(require.resolve('node-gyp-build'))})(${JSON.stringify(root)})`;
  return spawnSync(process.execPath, ['-e', program], { stdio: 'ignore' }).status === 0;
}

/** @param {string} sentence @returns {never} */
function fail(sentence) {
  process.stderr.write(
    `gwlb: there is no prebuilt addon that loads on ${process.platform}-${process.arch}, and none could ` +
      `be built. ${sentence} Then: npm rebuild gwlb\n`,
  );
  process.exit(1);
}

if (!loads()) {
  // node-gyp fetches headers where there are none; nothing replaces a compiler.
  const missing = missingForNativeBuild().filter((sentence) => !NO_HEADERS.test(sentence));
  if (missing.length > 0) fail(missing.join(' '));
  const { status } = spawnSync(process.execPath, [require.resolve('node-gyp-build/bin.js')], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, npm_package_config_node_gyp_nodedir: headersPrefix() ?? undefined },
  });
  if (status !== 0) {
    fail(
      'It needs g++ 12 or newer, make, python3 and the headers of Node ' +
        `${process.versions.node} (Debian, Ubuntu: apt-get install g++ make python3).`,
    );
  }
}
