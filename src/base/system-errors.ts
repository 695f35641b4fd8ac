/** Errors of the operating system in the words of this package: what is wrong, and the way round. */
import type { GatewayErrorCode } from './error-codes.js';

/** What native code and Node attach to an error of the operating system. */
interface SystemError extends Error {
  code?: unknown;
  syscall?: unknown;
  detail?: unknown;
  path?: unknown;
}

// Not by setcap: every script of every user would have what node has.
const WAY_ROUND =
  'run as root, give it to this service alone (AmbientCapabilities={cap} in its unit) or run inside a ' +
  'user namespace (unshare -Urn)';

const ANY_WAY_ROUND =
  'run as root, or give this service alone the capability that the action needs (AmbientCapabilities= ' +
  'in its unit)';

/** EMFILE, told where it happens. */
const TOO_MANY_FILES =
  'too many open files: raise the limit of this process (LimitNOFILE= of its unit, ulimit -n); a ' +
  'gateway needs one for each outer source port, worker and endpoint, and about 100 more';

const PERMISSIONS = {
  file: 'the user of this process may not: see owner and mode of the file and its folders (ls -ld)',
  tun: `CAP_NET_ADMIN is needed for a TUN device: ${WAY_ROUND.replace('{cap}', 'CAP_NET_ADMIN')}`,
  bind:
    'CAP_NET_BIND_SERVICE is needed for ports below 1024: run as root, give it to this service alone ' +
    '(AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit), take a port of 1024 or above, or lower ' +
    'net.ipv4.ip_unprivileged_port_start',
  netns:
    'CAP_SYS_ADMIN is needed to enter a network namespace: run as root, or start the program ' +
    'inside the namespace (ip netns exec NAME …) and configure no namespace',
} as const;

/** What a system error is about: the call that failed tells, or else what was tried. */
function subject(error: SystemError, action: string): keyof typeof PERMISSIONS | 'other' {
  const syscall = typeof error.syscall === 'string' ? error.syscall : '';
  const detail = typeof error.detail === 'string' ? error.detail : null;
  // Of Node's file system functions; errors of native code have a detail.
  if (typeof error.path === 'string') return 'file';
  if (detail === '/dev/net/tun' || syscall.startsWith('ioctl')) return 'tun';
  if (syscall === 'setns' || (syscall === 'open' && detail !== null)) return 'netns';
  if (syscall === 'bind' || syscall === 'listen') return 'bind';
  if (/\btun\b/i.test(action)) return 'tun';
  if (/\b(netns|namespace)\b/i.test(action)) return 'netns';
  return /\b(bind|listen)\b/i.test(action) ? 'bind' : 'other';
}

function explainErrno(
  errno: string,
  about: ReturnType<typeof subject>,
): [GatewayErrorCode, string] | null {
  switch (errno) {
    case 'ENOMEM':
      return ['ERR_GWLB_OUT_OF_MEMORY', 'there is not so much memory: ask for less'];
    case 'EADDRINUSE':
      return [
        'ERR_GWLB_ADDRESS_IN_USE',
        'another socket has this address and port: stop that program, or choose another address or port',
      ];
    case 'EADDRNOTAVAIL':
      return [
        'ERR_GWLB_ADDRESS_NOT_AVAILABLE',
        'no interface of this host or network namespace has this address: add it (ip address add) ' +
          'or choose one that exists',
      ];
    case 'EPERM':
    case 'EACCES':
      if (about === 'other')
        return ['ERR_GWLB_PERMISSION', `permission is missing: ${ANY_WAY_ROUND}`];
      return ['ERR_GWLB_PERMISSION', PERMISSIONS[about]];
    case 'ENOENT':
    case 'EINVAL':
    case 'ENOTDIR':
      if (about === 'netns') {
        return [
          'ERR_GWLB_UNKNOWN_NAMESPACE',
          'no such network namespace: ip netns list shows those that exist, ip netns add makes one',
        ];
      }
      if (about === 'tun' && errno === 'ENOENT') {
        return [
          'ERR_GWLB_DEVICE',
          '/dev/net/tun does not exist: load the kernel module (modprobe tun)',
        ];
      }
      if (about === 'tun') {
        return ['ERR_GWLB_DEVICE', 'the name is invalid, or a device of another kind has it'];
      }
      return null;
    case 'EMFILE':
      return ['ERR_GWLB_SYSTEM', TOO_MANY_FILES];
    case 'ENFILE':
      return ['ERR_GWLB_SYSTEM', 'this host has too many open files: raise fs.file-max'];
    case 'ENAMETOOLONG':
      return about === 'tun'
        ? ['ERR_GWLB_DEVICE', 'a device name has at most 15 characters']
        : null;
    case 'EBUSY':
      return ['ERR_GWLB_DEVICE', 'another program uses the device'];
    case 'EEXIST':
      return ['ERR_GWLB_DEVICE', 'a device with this name exists already'];
    case 'ENODEV':
    case 'ENXIO':
      return ['ERR_GWLB_DEVICE', 'no such device exists, or its kernel module is not loaded'];
    default:
      return null;
  }
}

/** The code for an error of the operating system, and what is wrong and the way round in a sentence. */
export function explainSystemError(
  error: unknown,
  action: string,
): { code: GatewayErrorCode; sentence: string } {
  const system: SystemError = error instanceof Error ? error : new Error(String(error));
  const errno = typeof system.code === 'string' ? system.code : '';
  const [code, sentence] = explainErrno(errno, subject(system, action)) ?? [
    'ERR_GWLB_SYSTEM' as const,
    system.message,
  ];
  const syscall = typeof system.syscall === 'string' && system.syscall ? `${system.syscall} ` : '';
  return { code, sentence: errno ? `${sentence} (${syscall}${errno})` : sentence };
}
