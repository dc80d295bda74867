/** The XenAPI as data: every class of the model. To add a class, add its file and its line here. */
import { auth } from './classes/auth.js';
import { blob } from './classes/blob.js';
import { Bond } from './classes/bond.js';
import { Caller } from './classes/caller.js';
import { Certificate } from './classes/certificate.js';
import { Cluster } from './classes/cluster.js';
import { Cluster_host } from './classes/cluster-host.js';
import { console } from './classes/console.js';
import { crashdump } from './classes/crashdump.js';
import { data_source } from './classes/data-source.js';
import { Diagnostics } from './classes/diagnostics.js';
import { DR_task } from './classes/dr-task.js';
import { Driver_variant } from './classes/driver-variant.js';
import { event } from './classes/event.js';
import { Feature } from './classes/feature.js';
import { GPU_group } from './classes/gpu-group.js';
import { host } from './classes/host.js';
import { host_cpu } from './classes/host-cpu.js';
import { host_crashdump } from './classes/host-crashdump.js';
import { Host_driver } from './classes/host-driver.js';
import { host_metrics } from './classes/host-metrics.js';
import { host_patch } from './classes/host-patch.js';
import { LVHD } from './classes/lvhd.js';
import { message } from './classes/message.js';
import { network } from './classes/network.js';
import { network_sriov } from './classes/network-sriov.js';
import { Observer } from './classes/observer.js';
import { PBD } from './classes/pbd.js';
import { PCI } from './classes/pci.js';
import { PGPU } from './classes/pgpu.js';
import { PIF } from './classes/pif.js';
import { PIF_metrics } from './classes/pif-metrics.js';
import { pool } from './classes/pool.js';
import { pool_patch } from './classes/pool-patch.js';
import { pool_update } from './classes/pool-update.js';
import { probe_result } from './classes/probe-result.js';
import { PUSB } from './classes/pusb.js';
import { PVS_cache_storage } from './classes/pvs-cache-storage.js';
import { PVS_proxy } from './classes/pvs-proxy.js';
import { PVS_server } from './classes/pvs-server.js';
import { PVS_site } from './classes/pvs-site.js';
import { Rate_limit } from './classes/rate-limit.js';
import { Repository } from './classes/repository.js';
import { role } from './classes/role.js';
import { SDN_controller } from './classes/sdn-controller.js';
import { secret } from './classes/secret.js';
import { session } from './classes/session.js';
import { SM } from './classes/sm.js';
import { SR } from './classes/sr.js';
import { sr_stat } from './classes/sr-stat.js';
import { subject } from './classes/subject.js';
import { task } from './classes/task.js';
import { tunnel } from './classes/tunnel.js';
import { USB_group } from './classes/usb-group.js';
import { user } from './classes/user.js';
import { VBD } from './classes/vbd.js';
import { VBD_metrics } from './classes/vbd-metrics.js';
import { VDI } from './classes/vdi.js';
import { vdi_nbd_server_info } from './classes/vdi-nbd-server-info.js';
import { VGPU } from './classes/vgpu.js';
import { VGPU_type } from './classes/vgpu-type.js';
import { VIF } from './classes/vif.js';
import { VIF_metrics } from './classes/vif-metrics.js';
import { VLAN } from './classes/vlan.js';
import { VM } from './classes/vm.js';
import { VM_appliance } from './classes/vm-appliance.js';
import { VM_group } from './classes/vm-group.js';
import { VM_guest_metrics } from './classes/vm-guest-metrics.js';
import { VM_metrics } from './classes/vm-metrics.js';
import { VMPP } from './classes/vmpp.js';
import { VMSS } from './classes/vmss.js';
import { VTPM } from './classes/vtpm.js';
import { VUSB } from './classes/vusb.js';

export const classes = {
  session,
  auth,
  subject,
  role,
  task,
  event,
  pool,
  pool_patch,
  pool_update,
  VM,
  VM_metrics,
  VM_guest_metrics,
  VMPP,
  VMSS,
  VM_appliance,
  DR_task,
  host,
  host_crashdump,
  host_patch,
  host_metrics,
  host_cpu,
  network,
  VIF,
  VIF_metrics,
  PIF,
  PIF_metrics,
  Bond,
  VLAN,
  SM,
  SR,
  sr_stat,
  probe_result,
  LVHD,
  VDI,
  VBD,
  VBD_metrics,
  PBD,
  crashdump,
  VTPM,
  console,
  user,
  data_source,
  blob,
  message,
  secret,
  tunnel,
  network_sriov,
  PCI,
  PGPU,
  GPU_group,
  VGPU,
  VGPU_type,
  PVS_site,
  PVS_server,
  PVS_proxy,
  PVS_cache_storage,
  Feature,
  SDN_controller,
  vdi_nbd_server_info,
  PUSB,
  USB_group,
  VUSB,
  Cluster,
  Cluster_host,
  Certificate,
  Diagnostics,
  Repository,
  Observer,
  VM_group,
  Host_driver,
  Driver_variant,
  Caller,
  Rate_limit,
};

type Model = typeof classes;

declare module './vocabulary.js' {
  interface Classes extends Model {}
}

export type ClassName = keyof Model;

/** The version of the XenAPI that this model is of. */
export const apiVersion = { major: 2, minor: 23 };

export { enums } from './enums.js';
export { errors } from './errors.js';
export type * from './vocabulary.js';
