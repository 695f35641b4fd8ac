import { fileURLToPath } from 'node:url';

const ROLE = fileURLToPath(new URL('./role.js', import.meta.url));

/** The demo's processes: modules `role-*.ts`, which `role.ts` starts. */
export type RoleName =
  | 'gateway'
  | 'appliance'
  | 'client'
  | 'balancer'
  | 'application'
  | 'generator';

/** What `Lab.start` runs for one of them. */
export function roleOf(name: RoleName): string[] {
  return [ROLE, name];
}
