#!/bin/bash
# The first process of a host, in namespaces of its own (net, mount, pid, uts, ipc). Shows it a machine that has booted
# from an image with the project's Python environment and a login user, and starts sshd.
#
# Environment: D (a folder for the host's own files, with the key of its sshd in it), SHARED (a folder of all hosts),
# NAME, IP, SSH_USER, AUTHORIZED_KEY, VENV, KEEP and HIDE (paths, separated by colons), BASHRC (text).
set -eu
mount --make-rprivate /
mount -t proc proc /proc
hostname "$NAME"
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/host /run/venv "$D/upper" "$D/work"
mount --bind "$D" /run/host
mount -t tmpfs tmpfs /mnt
mkdir /mnt/shared
mount --bind "$SHARED" /mnt/shared
mount -t tmpfs -o size=12g tmpfs /dev/shm  # Ray's object store; memory is taken as it is used

# What must stay visible although its parents become private: the interpreter, and the environment, to be written on
# by this host alone.
IFS=:
number=0
for path in $KEEP; do
  mkdir -p "/run/keep/$number"
  mount --rbind "$path" "/run/keep/$number"
  number=$((number + 1))
done
mount -t overlay overlay -o "lowerdir=$VENV,upperdir=$D/upper,workdir=$D/work" /run/venv
for path in $HIDE; do
  [ -d "$path" ] || continue
  mkdir -p "/run/host/root$path"
  mount --bind "/run/host/root$path" "$path"
done
number=0
for path in $KEEP; do
  mkdir -p "$path"
  mount --rbind "/run/keep/$number" "$path"
  mount -o remount,ro,bind "$path"
  number=$((number + 1))
done
mkdir -p "$VENV"
mount --bind /run/venv "$VENV"
chmod 1777 /tmp

# The login user is root under another name, so that no file permission of this machine is in its way. Its line comes
# first: ssh expands a `~` by uid, not by $HOME.
home=/home/$SSH_USER
mkdir -p "$home/.ssh" "$home/.aws"
{ echo "$SSH_USER:x:0:0::$home:/bin/bash"; cat /etc/passwd; } >/run/host/passwd
mount --bind /run/host/passwd /etc/passwd
# No name server: "no" at once. One that does not answer costs `ray start` tens of seconds.
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >/run/host/resolv.conf
mount --bind /run/host/resolv.conf "$(readlink -f /etc/resolv.conf || echo /etc/resolv.conf)"
printf '127.0.0.1 localhost\n%s %s\n' "$IP" "$NAME" >/run/host/hosts
mount --bind /run/host/hosts /etc/hosts

ln -sfn "$VENV" "$home/env"
printf '%s\n' "$BASHRC" >"$home/.bashrc"
printf '%s\n' "$AUTHORIZED_KEY" >"$home/.ssh/authorized_keys"
chmod 700 "$home" "$home/.ssh"
chmod 600 "$home/.ssh/authorized_keys"
cat >/run/host/sshd_config <<X
ListenAddress 0.0.0.0
Port 22
HostKey /run/host/host_key
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
AuthorizedKeysFile $home/.ssh/authorized_keys
MaxStartups 100
MaxSessions 100
PrintMotd no
X
until ip -o link show eth0 2>/dev/null | grep -q 'state UP'; do sleep 0.05; done
cd /
/usr/sbin/sshd -f /run/host/sshd_config -E /run/host/sshd.log -D &
touch /run/host/up
# As an init should, wait for orphans.
while :; do
  sleep 3600 &
  wait $! || true
done
