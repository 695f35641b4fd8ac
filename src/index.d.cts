/// <reference types="node" preserve="true" />
// The declarations for CommonJS. Node loads the same module for `require` as for `import` (every Node this
// package runs on can), which TypeScript's node16 and node18 do not know yet: they call it an error.
// @ts-ignore
export * from './index.js';
