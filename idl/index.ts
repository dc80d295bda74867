/** The XenAPI as data: every class of the model. To add a class, add its file and its line here. */
import { console } from './classes/console.js';
import { event } from './classes/event.js';
import { host } from './classes/host.js';
import { host_metrics } from './classes/host-metrics.js';
import { network } from './classes/network.js';
import { PBD } from './classes/pbd.js';
import { PIF } from './classes/pif.js';
import { pool } from './classes/pool.js';
import { session } from './classes/session.js';
import { SR } from './classes/sr.js';
import { task } from './classes/task.js';
import { VBD } from './classes/vbd.js';
import { VDI } from './classes/vdi.js';
import { VGPU } from './classes/vgpu.js';
import { VIF } from './classes/vif.js';
import { VM } from './classes/vm.js';
import { VM_metrics } from './classes/vm-metrics.js';

export const classes = {
  session,
  task,
  event,
  pool,
  VM,
  VM_metrics,
  host,
  host_metrics,
  network,
  VIF,
  PIF,
  SR,
  VDI,
  VBD,
  PBD,
  console,
  VGPU,
};

type Model = typeof classes;

declare module './vocabulary.js' {
  interface Classes extends Model {}
}

export type ClassName = keyof Model;

/** The version of the XenAPI that this model is of. */
export const apiVersion = { major: 2, minor: 23 };

export { enums } from './enums.js';
export { type ErrorCode, errors } from './errors.js';
export type * from './vocabulary.js';
