#!/bin/sh
# Make a small Linux guest for the QEMU back end: Debian's kernel (vmlinuz) and an initial RAM disk with busybox
# (initrd.gz). It counts on its serial console, and writes to memory and disk where its command line says so (see init).
# Needs apt-get and dpkg-deb, but not to be root; with a C compiler the guest can check its memory as well.
# Usage: build.sh DIRECTORY
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: $0 DIRECTORY" >&2; exit 2; }
for program in apt-get apt-cache dpkg-deb gzip; do
  command -v $program >/dev/null || { echo "$0: $program is needed, as Debian and Ubuntu have it" >&2; exit 1; }
done
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Debian's package of the name depends on the one of the newest version.
image=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
[ -n "$image" ] || { echo "$0: apt knows no package linux-image-amd64: run apt-get update" >&2; exit 1; }
mkdir "$work/packages" "$work/root" "$work/fs"
(cd "$work/packages" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$image" busybox-static)
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/root"; done
first() { for file; do [ -e "$file" ] && { echo "$file"; return; }; done; echo "$0: no $1" >&2; exit 1; }
kernel=$(first "$work"/root/boot/vmlinuz-*)
version=${kernel##*/vmlinuz-}
modules=$(first "$work/root/usr/lib/modules/$version/kernel" "$work/root/lib/modules/$version/kernel")
busybox=$(first "$work/root/usr/bin/busybox" "$work/root/bin/busybox")

fs=$work/fs
mkdir -p "$fs/bin" "$fs/dev" "$fs/proc" "$fs/sys" "$fs/tmp" "$fs/lib/modules" "$fs/etc/acpi/PWRF"
cp "$busybox" "$fs/bin/busybox"
cp "$here/init" "$fs/init"
cp "$here/disk-writer" "$fs/bin/disk-writer"
cp "$here/dhcp-lease" "$fs/etc/dhcp-lease"
# The name of the event of the power button, as busybox's acpid has it.
cp "$here/power-button" "$fs/etc/acpi/PWRF/00000080"
chmod 755 "$fs/init" "$fs/bin/disk-writer" "$fs/etc/dhcp-lease" "$fs/etc/acpi/PWRF/00000080"
if command -v cc >/dev/null; then cc -O2 -static -o "$fs/bin/memory-writer" "$here/memory-writer.c"; fi

# In the order in which they can be loaded.
for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev virtio/virtio_pci \
  block/virtio_blk virtio/virtio_balloon net/failover net/net_failover net/virtio_net acpi/button input/evdev; do
  for file in "$modules/drivers/$module".ko* "$modules/$module.ko"* "$modules/net/core/${module#net/}".ko*; do
    [ -e "$file" ] || continue
    case $file in
      *.xz) xz -dc "$file" ;;
      *.zst) zstd -dc "$file" ;;
      *) cat "$file" ;;
    esac > "$fs/lib/modules/${module##*/}.ko"
    echo "${module##*/}" >> "$fs/lib/modules/order"
    break
  done
done

(cd "$fs" && find . | LC_ALL=C sort | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null) | gzip -9 -n > "$out/initrd.gz.part"
cp "$kernel" "$out/vmlinuz"
mv "$out/initrd.gz.part" "$out/initrd.gz"
