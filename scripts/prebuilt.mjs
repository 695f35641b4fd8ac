// What the npm package brings prebuilt, and how one knows which sources a prebuild is of.
import { join } from 'node:path';
import { digest, NATIVE_SOURCES, root } from './toolchain.mjs';

export const PREBUILT = ['linux-x64', 'linux-arm64'];

export const sourceStamp = () => digest(NATIVE_SOURCES);

/** Beside the prebuilds' build folder, since all of prebuilds/ is packed.
 * @param {string} platform */
export const stampPath = (platform) => join(root, 'build-prebuild', `${platform}.stamp`);
