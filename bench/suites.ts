// Every benchmark, in the order they run, each in a process of its own. Add yours here.

export interface Suite {
  name: string;
  /**
   * `javascript`: bench/NAME.ts. `native`: bench/native/NAME_bench.cc, which brings a program
   * bench/native/peers/*.cc where it compares with libraries.
   */
  language: 'javascript' | 'native';
  /**
   * All of it is one thread: the process is kept on one core. Native programs pin themselves, where
   * they have one thread.
   */
  pinned?: true;
  /** Native programs it runs besides its own, by their names in native/Makefile. */
  programs?: readonly string[];
  /** It mostly waits: a quick run, whose times are not judged, runs it beside the others. */
  waits?: true;
}

export const SUITES: readonly Suite[] = [
  { name: 'lookup', language: 'native' },
  { name: 'sweep', language: 'native' },
  { name: 'pass', language: 'native' },
  { name: 'kinds', language: 'native' },
  { name: 'threads', language: 'native' },
  { name: 'select', language: 'native' },
  { name: 'udp_send', language: 'native' },
  { name: 'codec', language: 'javascript', pinned: true },
  { name: 'lookup', language: 'javascript', pinned: true },
  { name: 'boundary', language: 'javascript', pinned: true },
  { name: 'pass', language: 'javascript', pinned: true },
  { name: 'appliance', language: 'javascript', programs: ['echo'] },
  { name: 'forwarding', language: 'javascript' },
  { name: 'change', language: 'javascript' },
  { name: 'fleet', language: 'javascript', pinned: true },
  { name: 'wire-end-to-end', language: 'javascript', programs: ['wire'] },
  { name: 'wire-kernel', language: 'javascript', programs: ['wire'] },
  { name: 'wire-single', language: 'javascript', programs: ['echo'] },
  { name: 'wire-ping', language: 'javascript', programs: ['wire'] },
  { name: 'wire-mixed', language: 'javascript', programs: ['wire'] },
  { name: 'wire-bulk', language: 'javascript', programs: ['wire'] },
  { name: 'replay', language: 'javascript', pinned: true },
  { name: 'health', language: 'javascript', waits: true },
];

/** What has to be built before a suite runs: targets below the folder of the benchmarks' programs. */
export function programsOf({ language, name, programs = [] }: Suite): string[] {
  return language === 'native' ? [name, ...programs] : ['addon.node', ...programs];
}

/** The suites of `--limits`. */
export const LIMIT_SUITES: readonly Suite[] = [
  { name: 'limits', language: 'native' },
  { name: 'limits', language: 'javascript', pinned: true },
];
