#!/bin/sh
# Becomes process 1 of a node: builds the node's root from the host's programs (read-only) and its own /var, /run, /tmp, /proc,
# /sys, so that every fixed path of kubelet, containerd and CNI is private and every mount ends with this process.
#   rootfs.sh tributary-node ID NAME STATE CACHE
set -eu
name=$3 state=$4 cache=$5
root=$state/rootfs
mkdir -p "$root" "$state/var/lib" "$state/var/log" "$state/var/tmp" "$state/tmp"
mount -t tmpfs -o mode=0755,size=16m tributary-node "$root"
cd "$root"
mkdir -p dev etc node opt/tributary proc root run sys tmp usr var
for d in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$d" ]; then ln -s "$(readlink "/$d")" "$d"
  elif [ -d "/$d" ]; then mkdir "$d"; mount -o rbind,ro "/$d" "$d"; fi
done
mount -o rbind,ro /usr usr
mount -o rbind,ro /etc etc
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys                 # a fresh one shows this network namespace's interfaces
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mount -o bind,ro "$cache" opt/tributary
mount --bind "$state" node
mount --bind "$state/var" var
mount --bind "$state/tmp" tmp
chmod 1777 tmp var/tmp
mkdir -p run/lock run/sysctl
# The kubelet insists on these machine-wide settings: it is shown what it wants and the machine stays as it is.
while read -r key value; do
  [ -e "proc/sys/$key" ] || continue
  f=run/sysctl/$(echo "$key" | tr / .)
  echo "$value" > "$f"
  mount --bind "$f" "proc/sys/$key"
done <<SYSCTL
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTL
echo "$name" > proc/sys/kernel/hostname
pivot_root . .
umount -l .
cd /
mount --make-rshared /
ip link set lo up
exec /opt/tributary/pause-1/pause "$1" "$2"
