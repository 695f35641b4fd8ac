/** Options of the calls that every gateway has. */
import type { Endpoint } from './endpoint.js';

/** Options of `rotateCookieKey`. */
export interface CookieKeyOptions {
  /** 16 secret bytes. Default random. */
  key?: Uint8Array;
  /** How long signatures with the key before stay good, 0–6000. Default the TCP idle timeout. */
  overlapSeconds?: number;
}

/** Options of `explain`. */
export interface ExplainOptions {
  /** The endpoint the packet enters by, or its id. Required unless there is exactly one. */
  endpoint?: Endpoint | string;
}
